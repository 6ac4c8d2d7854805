#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/calibration/source.h"

namespace calipress::tasks {

// A text whose last `scored` ids are what the model is asked for. It sees ids[0 .. n-2] and predicts ids[1 .. n-1]; at
// least one id comes before those that are scored.
struct Continuation {
  std::vector<int64_t> ids;
  int64_t scored = 0;
  // Of a choice, UTF-8, without the delimiter.
  int64_t bytes = 0;
};

// The choices of a question: continuations [first, first + choices). A last word is a question with one.
struct Question {
  int64_t first = 0;
  int64_t choices = 1;
  int64_t answer = 0;  // from 0
};

struct Examples {
  std::vector<Question> questions;
  std::vector<Continuation> continuations;
};

// The rows of a resolved task. INVALID_CALIBRATION_DATA names the file and the line of what cannot be asked: a file
// that is missing or has no rows, UTF-8 or JSON that is not valid, a field that a row lacks or that is of another kind,
// an answer that is no choice, a choice without a token or longer than the model's positions.
absl::StatusOr<Examples> ReadMultipleChoice(const v1::MultipleChoice& task, const calibration::SourceContext& context);
absl::StatusOr<Examples> ReadLastWord(const v1::LastWord& task, const calibration::SourceContext& context);

}  // namespace calipress::tasks
