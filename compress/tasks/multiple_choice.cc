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
    CALIPRESS_ASSIGN_OR_RETURN(const ContinuationEncoder::Context begun, encoder.Begin(row.context));
    Question question;
    question.first = static_cast<int64_t>(examples.continuations.size());
    question.choices = static_cast<int64_t>(row.choices.size());
    question.answer = row.answer;
    for (size_t i = 0; i < row.choices.size(); ++i) {
      auto continuation = encoder.Continue(begun, absl::StrCat(task.delimiter(), row.choices[i]));
      if (!continuation.ok()) {
        return Annotate(continuation.status(), absl::StrCat("element ", i, " of '", task.choices_field(), "'"));
      }
      continuation->bytes = static_cast<int64_t>(row.choices[i].size());
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
