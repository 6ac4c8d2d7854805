#include <set>

#include "absl/strings/str_cat.h"
#include "compress/recipe/data_kind.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

// Bounds that keep a request from costing much before it is queued; far above any use.
constexpr int kMaxTexts = 64;
constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxDelimiterBytes = 1024;

class EvaluationCheck {
 public:
  explicit EvaluationCheck(const Refuse& refuse) : refuse_(refuse) {}

  void Text(const v1::Perplexity& text, const std::string& path) {
    Labels(text.name(), text.domain(), path);
    CheckTextUri(text.uri(), absl::StrCat(path, ".uri"), refuse_);
    if (text.has_sequence_length() && text.sequence_length() < 2) {
      refuse_(absl::StrCat(path, ".sequence_length"),
              "must be at least 2: the first token of a window is given, the others are predicted");
    }
    Count(text.max_windows(), absl::StrCat(path, ".max_windows"));
  }

  void Choices(const v1::MultipleChoice& task, const std::string& path) {
    Labels(task.name(), task.domain(), path);
    const std::string uri_path = absl::StrCat(path, ".uri");
    CheckUri(task.uri(), uri_path, refuse_);
    if (!task.uri().empty() && DataKindOf(task.uri()) != DataKind::kJsonLines) {
      refuse_(uri_path, "must name a .jsonl file (also .gz, .zst, .xz)");
    }
    if (task.delimiter().size() > kMaxDelimiterBytes) {
      refuse_(absl::StrCat(path, ".delimiter"), absl::StrCat("has more than ", kMaxDelimiterBytes, " bytes"));
    }
    Count(task.max_examples(), absl::StrCat(path, ".max_examples"));
  }

  void Words(const v1::LastWord& task, const std::string& path) {
    Labels(task.name(), task.domain(), path);
    CheckTextUri(task.uri(), absl::StrCat(path, ".uri"), refuse_);
    Count(task.max_examples(), absl::StrCat(path, ".max_examples"));
  }

 private:
  void Labels(const std::string& name, const std::string& domain, const std::string& path) {
    const std::string name_path = absl::StrCat(path, ".name");
    if (name.empty()) {
      refuse_(name_path, "is required: its label in the report");
    } else if (name.size() > kMaxNameBytes) {
      refuse_(name_path, absl::StrCat("has more than ", kMaxNameBytes, " bytes"));
    } else if (!names_.insert(name).second) {
      refuse_(name_path, absl::StrCat("'", name, "' is used twice; names tell the texts and tasks of a report apart"));
    }
    if (domain.size() > kMaxNameBytes) {
      refuse_(absl::StrCat(path, ".domain"), absl::StrCat("has more than ", kMaxNameBytes, " bytes"));
    }
  }

  void Count(int count, const std::string& path) {
    if (count < 0) refuse_(path, "must be 0 (all) or more");
  }

  const Refuse& refuse_;
  std::set<std::string> names_;
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
  EvaluationCheck check(refuse);
  const auto each = [&](const auto& entries, const char* field, auto look) {
    const std::string list = absl::StrCat(path, ".", field);
    if (entries.size() > kMaxTexts) return refuse(list, absl::StrCat("at most ", kMaxTexts, " entries"));
    for (int i = 0; i < entries.size(); ++i) (check.*look)(entries[i], absl::StrCat(list, "[", i, "]"));
  };
  each(evaluation.perplexity(), "perplexity", &EvaluationCheck::Text);
  each(evaluation.multiple_choice(), "multiple_choice", &EvaluationCheck::Choices);
  each(evaluation.last_word(), "last_word", &EvaluationCheck::Words);
}

}  // namespace calipress::recipe
