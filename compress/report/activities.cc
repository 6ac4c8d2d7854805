#include "compress/report/activities.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compress/base/units.h"

namespace calipress::report {

std::string ActivitiesText(const v1::PhaseReport& phase) {
  std::vector<std::pair<std::string, double>> activities(phase.activities().begin(), phase.activities().end());
  std::sort(activities.begin(), activities.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  std::string text;
  for (const auto& [name, seconds] : activities) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", name, " ", FormatSeconds(seconds));
  }
  return text;
}

}  // namespace calipress::report
