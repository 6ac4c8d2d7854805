#include "compress/recipe/n_of_m.h"

#include <charconv>
#include <system_error>

namespace calipress::recipe {
namespace {

std::optional<int> Digits(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // from_chars takes a minus sign; what is negative is out of range below.
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
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
