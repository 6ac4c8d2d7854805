#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace calipress::recipe {

// A YAML document as it was written: scalars stay text, so that the field that takes a value decides its type
// (`name: 123` gives a name, `bits: 4` a number).
struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  int line = 1;                   // from 1
  std::string text;               // kScalar
  std::vector<std::string> keys;  // kMap: of items[i]; unique
  std::vector<YamlNode> items;    // kMap, kSequence
};

// Limits on untrusted text. A recipe is a page long.
inline constexpr size_t kMaxYamlBytes = 256 * 1024;
inline constexpr int kMaxYamlDepth = 32;
inline constexpr int kMaxYamlNodes = 20'000;

// Parses the one document of `text`; kNull where there is none. INVALID_RECIPE with line and column for bad syntax,
// text that is not UTF-8, keys that repeat or are not plain, tags, more than one document, and what is beyond the
// limits. Anchors and aliases are refused: a recipe has no use for them, and they make small texts large.
absl::StatusOr<YamlNode> ParseYamlTree(std::string_view text);

}  // namespace calipress::recipe
