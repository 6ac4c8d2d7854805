#include <set>

#include "absl/strings/str_cat.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

// Bounds that keep a request from costing much before it is queued; far above any use.
constexpr int kMaxTexts = 64;
constexpr size_t kMaxNameBytes = 128;

// The labels of a report's texts and tasks.
class Names {
 public:
  void Check(const std::string& name, const std::string& path, const Refuse& refuse) {
    if (name.empty()) {
      refuse(path, "is required: the label of this text in the report");
    } else if (name.size() > kMaxNameBytes) {
      refuse(path, absl::StrCat("has more than ", kMaxNameBytes, " bytes"));
    } else if (!seen_.insert(name).second) {
      refuse(path, absl::StrCat("'", name, "' is used twice; names tell the texts of a report apart"));
    }
  }

 private:
  std::set<std::string> seen_;
};

}  // namespace

bool Evaluates(const v1::Recipe& recipe) {
  const v1::Evaluation& evaluation = recipe.evaluation();
  return evaluation.perplexity_size() + evaluation.multiple_choice_size() + evaluation.last_word_size() > 0;
}

void CheckEvaluation(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse) {
  const v1::Evaluation& evaluation = recipe.evaluation();
  if (!evaluation.reference().empty()) {
    if (recipe.steps_size() > 0) {
      refuse(absl::StrCat(path, ".reference"),
             "a job with steps compares with its original; a reference is for jobs that only evaluate");
    } else {
      CheckUri(evaluation.reference(), absl::StrCat(path, ".reference"), refuse);
    }
  }
  // Not available yet.
  if (evaluation.multiple_choice_size() > 0) {
    refuse(absl::StrCat(path, ".multiple_choice"), "is not available yet; remove it");
  }
  if (evaluation.last_word_size() > 0) refuse(absl::StrCat(path, ".last_word"), "is not available yet; remove it");
  if (evaluation.perplexity_size() > kMaxTexts) {
    return refuse(absl::StrCat(path, ".perplexity"), absl::StrCat("at most ", kMaxTexts, " texts"));
  }
  Names names;
  for (int i = 0; i < evaluation.perplexity_size(); ++i) {
    const v1::Perplexity& text = evaluation.perplexity(i);
    const std::string entry = absl::StrCat(path, ".perplexity[", i, "]");
    names.Check(text.name(), absl::StrCat(entry, ".name"), refuse);
    CheckTextUri(text.uri(), absl::StrCat(entry, ".uri"), refuse);
    if (!text.domain().empty()) refuse(absl::StrCat(entry, ".domain"), "is not available yet; remove it");
    if (text.has_sequence_length() && text.sequence_length() < 2) {
      refuse(absl::StrCat(entry, ".sequence_length"),
             "must be at least 2: the first token of a window is given, the others are predicted");
    }
    if (text.max_windows() < 0) refuse(absl::StrCat(entry, ".max_windows"), "must be 0 (all) or more");
  }
}

}  // namespace calipress::recipe
