#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/documents.h"
#include "compress/calibration/json_field.h"
#include "compress/recipe/data_kind.h"
#include "compress/tasks/continuation.h"
#include "compress/tasks/examples.h"
#include "compress/tasks/row_lines.h"
#include "compress/tasks/white_space.h"

namespace calipress::tasks {
namespace {

// Of rows that have a text in two fields.
const std::string kContextField = "context";
const std::string kWordField = "continuation";

class Reading {
 public:
  explicit Reading(const ContinuationEncoder& encoder) : encoder_(encoder) {}

  absl::Status Add(std::string_view text) {
    text = text.substr(0, BytesBeforeTrailingSpace(text));
    const size_t begin = LastWordBegin(text);
    if (BytesBeforeTrailingSpace(text.substr(0, begin)) == 0) {
      return UserError(reason::kInvalidCalibrationData,
                       text.empty() ? "has no words" : "has one word alone, and nothing that tells it");
    }
    return Ask(text.substr(0, begin), text.substr(begin));
  }

  // A text in two parts, of which all of the second is to be written.
  absl::Status AddParts(std::string_view context, std::string_view word) {
    word = word.substr(0, BytesBeforeTrailingSpace(word));
    if (word.empty()) {
      return UserError(reason::kInvalidCalibrationData, absl::StrCat("field '", kWordField, "' has no words"));
    }
    const size_t end = BytesBeforeTrailingSpace(context);
    if (end == 0) {
      return UserError(reason::kInvalidCalibrationData,
                       absl::StrCat("field '", kContextField, "' has no words that tell the last one"));
    }
    const bool apart = end < context.size() || word.find_first_of(" \t\r\n") == 0;
    return Ask(context, (apart ? "" : " ") + std::string(word));
  }

  Examples Take() { return std::move(examples_); }

 private:
  absl::Status Ask(std::string_view before, std::string_view word) {
    CALIPRESS_ASSIGN_OR_RETURN(const ContinuationEncoder::Context context, encoder_.Begin(before));
    CALIPRESS_ASSIGN_OR_RETURN(Continuation continuation, encoder_.Continue(context, word));
    CALIPRESS_RETURN_IF_ERROR(budget_.Take(continuation.ids.size()));
    Question question;
    question.first = static_cast<int64_t>(examples_.continuations.size());
    examples_.questions.push_back(question);
    examples_.continuations.push_back(std::move(continuation));
    return absl::OkStatus();
  }

  const ContinuationEncoder& encoder_;
  Examples examples_;
  TokenBudget budget_;
};

}  // namespace

absl::StatusOr<Examples> ReadLastWord(const v1::LastWord& task, const calibration::SourceContext& context) {
  CALIPRESS_ASSIGN_OR_RETURN(const ContinuationEncoder encoder, ContinuationEncoder::Create(context));
  Reading reading(encoder);
  if (recipe::DataKindOf(task.uri()) == recipe::DataKind::kJsonLines) {
    CALIPRESS_RETURN_IF_ERROR(
        ForEachRow(task.uri(), task.max_examples(), context, [&](std::string_view line) -> absl::Status {
          using calibration::FindTextOfJsonLine;
          CALIPRESS_ASSIGN_OR_RETURN(const auto text, FindTextOfJsonLine(line, task.field()));
          if (text) return reading.Add(*text);
          CALIPRESS_ASSIGN_OR_RETURN(const auto context, FindTextOfJsonLine(line, kContextField));
          CALIPRESS_ASSIGN_OR_RETURN(const auto word, FindTextOfJsonLine(line, kWordField));
          if (context && word) return reading.AddParts(*context, *word);
          return calibration::TextOfJsonLine(line, task.field()).status();
        }));
    return reading.Take();
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto texts, calibration::Documents::Open(context.store, task.uri(), task.field()));
  const int64_t count = task.max_examples() > 0 ? std::min<int64_t>(texts->size(), task.max_examples()) : texts->size();
  for (int64_t i = 0; i < count; ++i) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::string text, texts->Read(i));
    CALIPRESS_RETURN_IF_ERROR(Annotate(reading.Add(text), absl::StrCat(texts->name(), ": text ", i + 1)));
  }
  return reading.Take();
}

}  // namespace calipress::tasks
