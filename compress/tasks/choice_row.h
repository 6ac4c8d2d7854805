#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"

namespace calipress::tasks {

struct ChoiceRow {
  std::string context;
  std::vector<std::string> choices;  // two at least, none empty
  int64_t answer = 0;                // one of them
};

// A line of a .jsonl in the fields that a resolved task names. Errors say what is wrong with the line without its
// content, and are to be put behind the file's name and the line's number. Untrusted text.
absl::StatusOr<ChoiceRow> ParseChoiceRow(std::string_view line, const v1::MultipleChoice& task);

}  // namespace calipress::tasks
