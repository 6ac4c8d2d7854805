#include <string>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/tasks/choice_row.h"
#include "compress/tasks/continuation.h"
#include "compress/tasks/examples.h"
#include "compress/tasks/row_lines.h"

namespace calipress::tasks {

absl::StatusOr<Examples> ReadMultipleChoice(const v1::MultipleChoice& task, const calibration::SourceContext& context) {
  CALIPRESS_ASSIGN_OR_RETURN(const ContinuationEncoder encoder, ContinuationEncoder::Create(context));
  Examples examples;
  TokenBudget budget;
  const auto add = [&](std::string_view line) -> absl::Status {
    CALIPRESS_ASSIGN_OR_RETURN(const ChoiceRow row, ParseChoiceRow(line, task));
    Question question;
    question.first = static_cast<int64_t>(examples.continuations.size());
    question.choices = static_cast<int64_t>(row.options());
    question.answer = row.answer;
    ContinuationEncoder::Context begun;
    for (size_t i = 0; i < row.options(); ++i) {
      const std::string& choice = row.choices[row.partial() ? 0 : i];
      if (i == 0 || row.partial()) {
        CALIPRESS_ASSIGN_OR_RETURN(begun, encoder.Begin(row.contexts[i]));
      }
      auto continuation = encoder.Continue(begun, absl::StrCat(task.delimiter(), choice));
      if (!continuation.ok()) {
        const std::string& field = row.partial() ? task.context_field() : task.choices_field();
        return Annotate(continuation.status(), absl::StrCat("element ", i, " of '", field, "'"));
      }
      continuation->bytes = static_cast<int64_t>(choice.size());
      CALIPRESS_RETURN_IF_ERROR(budget.Take(continuation->ids.size()));
      examples.continuations.push_back(*std::move(continuation));
    }
    examples.questions.push_back(question);
    return absl::OkStatus();
  };
  CALIPRESS_RETURN_IF_ERROR(ForEachRow(task.uri(), task.max_examples(), context, add));
  return examples;
}

}  // namespace calipress::tasks
