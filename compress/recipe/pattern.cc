#include "compress/recipe/pattern.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compress/recipe/recipe.h"
#include "re2/re2.h"

namespace calipress::recipe {
namespace {

constexpr std::string_view kExpressionPrefix = "re:";
constexpr char kLinear[] = "Linear";
// The head is a linear of the class "Linear" too, but not one of the blocks.
constexpr char kHead[] = "lm_head";
constexpr size_t kMaxPatternBytes = 512;
constexpr int64_t kMaxExpressionMemory = 1 << 20;

}  // namespace

Pattern::Pattern(const std::string& text) : text_(text), kind_(text == kLinear ? Kind::kLinear : Kind::kPath) {
  if (text.empty()) {
    error_ = "an empty pattern matches nothing; give \"Linear\", a module path, or re: and an expression";
    return;
  }
  if (text.size() > kMaxPatternBytes) {
    error_ = absl::StrCat("has ", text.size(), " bytes; a pattern has at most ", kMaxPatternBytes);
    return;
  }
  if (text.compare(0, kExpressionPrefix.size(), kExpressionPrefix) != 0) return;
  kind_ = Kind::kExpression;
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxExpressionMemory);
  expression_ = std::make_unique<re2::RE2>(text.substr(kExpressionPrefix.size()), options);
  if (expression_->ok()) return;
  error_ = absl::StrCat("not a regular expression: ", expression_->error(), " (RE2 syntax: no look-around, no \\1)");
  expression_.reset();
}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;

bool Pattern::Matches(std::string_view module) const {
  if (!error_.empty()) return false;
  switch (kind_) {
    case Kind::kLinear:
      return module != kHead;
    case Kind::kPath:
      return module == text_;
    case Kind::kExpression:
      return expression_->Match({module.data(), module.size()}, 0, module.size(), re2::RE2::ANCHOR_START, nullptr, 0);
  }
  return false;
}

std::vector<Pattern> CompilePatterns(const PatternTexts& texts) {
  std::vector<Pattern> patterns;
  patterns.reserve(texts.size());
  for (const std::string& text : texts) patterns.emplace_back(text);
  return patterns;
}

bool MatchesAny(const std::vector<Pattern>& patterns, std::string_view module) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const Pattern& p) { return p.Matches(module); });
}

bool MatchesAny(const PatternTexts& patterns, std::string_view module) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const auto& text) { return Pattern(text).Matches(module); });
}

const PatternTexts& TargetsOrDefault(const PatternTexts& targets) {
  static const PatternTexts& linears = *[] {
    auto* list = new PatternTexts;
    list->Add(kLinear);
    return list;
  }();
  return targets.empty() ? linears : targets;
}

const PatternTexts& IgnoreOrDefault(const PatternTexts& ignore) {
  static const PatternTexts& head = *[] {
    auto* list = new PatternTexts;
    list->Add(kHead);
    return list;
  }();
  return ignore.empty() ? head : ignore;
}

}  // namespace calipress::recipe
