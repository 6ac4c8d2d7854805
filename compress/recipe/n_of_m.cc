#include "compress/recipe/n_of_m.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"

namespace calipress::recipe {
namespace {

std::optional<int> Digits(std::string_view text) {
  int value = 0;
  if (text.empty() || !std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) return std::nullopt;
  if (!absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

}  // namespace

std::optional<NOfM> ParseNOfM(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto zeros = Digits(text.substr(0, colon)), of = Digits(text.substr(colon + 1));
  if (!zeros || !of || *zeros < 1 || *zeros >= *of || *of > kMaxPatternRun) return std::nullopt;
  return NOfM{*zeros, *of};
}

}  // namespace calipress::recipe
