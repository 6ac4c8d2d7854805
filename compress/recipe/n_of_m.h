#pragma once

#include <optional>
#include <string_view>

namespace calipress::recipe {

// `zeros` in every run of `of` input columns (methods.md 7.1: N counts what is removed).
struct NOfM {
  int zeros = 0;
  int of = 0;

  double sparsity() const { return static_cast<double>(zeros) / of; }
  bool operator==(const NOfM&) const = default;
};

// What pruning removes where the recipe does not say.
inline constexpr double kDefaultSparsity = 0.5;

inline constexpr int kMaxPatternRun = 256;

// "2:4" and the like, 0 < zeros < of <= kMaxPatternRun; nothing where the text is anything else.
std::optional<NOfM> ParseNOfM(std::string_view text);

}  // namespace calipress::recipe
