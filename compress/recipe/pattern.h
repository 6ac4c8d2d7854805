#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/repeated_ptr_field.h"

namespace re2 {
class RE2;
}

namespace calipress::recipe {

// One entry of `targets` or `ignore`: "Linear" (every linear of the blocks), an exact module path, or "re:" and a
// regular expression that must match at the start of the path (Python's re.match). Expressions are RE2's, so that an
// untrusted one takes linear time; look-around and back-references are errors.
class Pattern {
 public:
  explicit Pattern(const std::string& text);
  ~Pattern();
  Pattern(Pattern&&) noexcept;

  // Why the pattern cannot be used; empty: it can. One that cannot be used matches nothing.
  const std::string& error() const { return error_; }
  bool Matches(std::string_view module) const;

  enum class Kind { kLinear, kPath, kExpression };
  Kind kind() const { return kind_; }

 private:
  std::string text_;
  Kind kind_;
  std::string error_;
  std::unique_ptr<re2::RE2> expression_;
};

using PatternTexts = google::protobuf::RepeatedPtrField<std::string>;
std::vector<Pattern> CompilePatterns(const PatternTexts& texts);
bool MatchesAny(const std::vector<Pattern>& patterns, std::string_view module);

// The defaults of `targets` and `ignore`, for recipes that are not resolved.
const PatternTexts& TargetsOrDefault(const PatternTexts& targets);
const PatternTexts& IgnoreOrDefault(const PatternTexts& ignore);

}  // namespace calipress::recipe
