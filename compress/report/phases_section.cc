#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "compress/base/units.h"
#include "compress/report/activities.h"
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
    const double share = longest > 0 && phase.seconds() > 0 ? std::min(1.0, phase.seconds() / longest) : 0.0;
    table.Add({Escaped(phase.name()), FormatSeconds(phase.seconds()),
               absl::StrFormat("<span class=\"share\" style=\"width:%.1fpx\"></span>", 120 * share),
               phase.peak_memory_bytes() > 0 ? FormatBytes(phase.peak_memory_bytes()) : kNone,
               Escaped(ActivitiesText(phase))});
  }
  return Section("Time and memory", table.Render());
}

}  // namespace calipress::report
