#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"

namespace calipress::tasks {

// One context and two or more choices; or, where it is contexts that are chosen from (partial scoring, as WinoGrande
// has it), two or more of these and the one text that is scored after each. None is empty but a context that is alone.
struct ChoiceRow {
  std::vector<std::string> contexts;
  std::vector<std::string> choices;
  int64_t answer = 0;  // one of what there are two or more of

  bool partial() const { return contexts.size() > 1; }
  size_t options() const { return partial() ? contexts.size() : choices.size(); }
};

// A line of a .jsonl in the fields that a resolved task names. Errors say what is wrong with the line without its
// content, and are to be put behind the file's name and the line's number. Untrusted text.
absl::StatusOr<ChoiceRow> ParseChoiceRow(std::string_view line, const v1::MultipleChoice& task);

}  // namespace calipress::tasks
