#include "compress/base/units.h"

#include <charconv>
#include <cmath>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace calipress {

std::string FormatBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 999.95 would be shown as 1000.0.
  while (value >= 999.95 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return absl::StrCat(bytes, " B");
  return absl::StrFormat("%.*f %s", value < 9.995 ? 2 : 1, value, kUnits[unit]);
}

std::string FormatSeconds(double seconds) {
  if (!(std::abs(seconds) < 1e15)) return "-";
  if (seconds < 9.995) return absl::StrFormat("%.2f s", seconds);
  if (seconds < 59.95) return absl::StrFormat("%.1f s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return absl::StrCat(whole / 60, " min ", whole % 60, " s");
  return absl::StrCat(whole / 3600, " h ", whole % 3600 / 60, " min");
}

std::string FormatPerplexity(double value) {
  if (!std::isfinite(value)) return "-";
  return absl::StrFormat("%.*f", value < 100 ? 4 : value < 10000 ? 2 : 0, value);
}

std::string FormatPercent(double ratio) { return std::isfinite(ratio) ? absl::StrFormat("%.1f %%", 100 * ratio) : "-"; }

std::string ExactNumber(double value) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

}  // namespace calipress
