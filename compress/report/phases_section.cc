#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compress/base/units.h"
#include "compress/report/html.h"
#include "compress/report/sections.h"

namespace calipress::report {

std::string PhasesSection(const v1::Report& report) {
  double longest = 0;
  for (const v1::PhaseReport& phase : report.phases()) {
    if (std::isfinite(phase.seconds())) longest = std::max(longest, phase.seconds());
  }
  HtmlTable table({{"phase"}, {"time", true}, {""}, {"peak memory", true}, {"workers were busy with"}});
  for (const v1::PhaseReport& phase : report.phases()) {
    std::vector<std::pair<std::string, double>> activities(phase.activities().begin(), phase.activities().end());
    std::sort(activities.begin(), activities.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    std::string busy;
    for (const auto& [name, seconds] : activities) {
      absl::StrAppend(&busy, busy.empty() ? "" : ", ", Escaped(name), " ", FormatSeconds(seconds));
    }
    const double share = longest > 0 && phase.seconds() > 0 ? std::min(1.0, phase.seconds() / longest) : 0.0;
    table.Add({Escaped(phase.name()), FormatSeconds(phase.seconds()),
               absl::StrFormat("<span class=\"share\" style=\"width:%.1fpx\"></span>", 120 * share),
               phase.peak_memory_bytes() > 0 ? FormatBytes(phase.peak_memory_bytes()) : kNone, busy});
  }
  return Section("Time and memory", table.Render());
}

}  // namespace calipress::report
