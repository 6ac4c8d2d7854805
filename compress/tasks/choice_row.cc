#include "compress/tasks/choice_row.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/utf8.h"
#include "nlohmann/json.hpp"

namespace calipress::tasks {
namespace {

using Json = nlohmann::json;

// Far above any use; a context is repeated for each.
constexpr size_t kMostChoices = 256;

absl::Status LineError(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

absl::StatusOr<Json> ParseLine(std::string_view line) {
  const size_t invalid = FindInvalidUtf8(line);
  if (invalid != std::string_view::npos) return LineError(absl::StrCat("not valid UTF-8 at byte ", invalid + 1));
  // Nothing that is looked at lies deeper, and what does must not make a deep tree.
  const auto shallow = [](int depth, Json::parse_event_t, Json&) { return depth < 4; };
  try {
    Json row = Json::parse(line.begin(), line.end(), shallow);
    if (row.is_object()) return row;
  } catch (const Json::exception& error) {
    // The library's own words quote the text.
    const auto* where = dynamic_cast<const Json::parse_error*>(&error);
    return LineError(absl::StrCat("not valid JSON", where == nullptr ? "" : absl::StrCat(" at byte ", where->byte)));
  }
  return LineError("is no JSON object; a line must be one, like {\"context\": \"...\", \"choices\": [...], ...}");
}

absl::StatusOr<const Json*> Field(const Json& row, const std::string& name, const char* option) {
  const auto found = row.find(name);
  if (found != row.end()) return &*found;
  std::vector<std::string> names;
  constexpr size_t kNames = 10;
  constexpr size_t kNameBytes = 40;
  for (const auto& [key, value] : row.items()) {
    if (names.size() < kNames && key.size() <= kNameBytes) names.push_back(key);
  }
  return LineError(absl::StrCat("has no field '", name, "'",
                                names.empty() ? "" : absl::StrCat("; its fields are ", absl::StrJoin(names, ", ")),
                                ". Set `", option, "` to the one that is meant"));
}

absl::StatusOr<std::string> Text(const Json& field, const std::string& name, const std::string& why) {
  if (field.is_string()) return field.get<std::string>();
  return LineError(absl::StrCat("field '", name, "' must be ", why, "; it is ", field.type_name()));
}

absl::StatusOr<std::vector<std::string>> Texts(const Json& field, const std::string& name) {
  const auto error = [&](const std::string& what) {
    return LineError(absl::StrCat("field '", name, "' must be a list of two or more strings; ", what));
  };
  if (!field.is_array()) return error(absl::StrCat("it is ", field.type_name()));
  if (field.size() < 2) return error(absl::StrCat("it has ", field.size()));
  if (field.size() > kMostChoices) return error(absl::StrCat("it has more than ", kMostChoices));
  std::vector<std::string> texts;
  for (const Json& text : field) {
    if (!text.is_string()) return error(absl::StrCat("element ", texts.size(), " is ", text.type_name()));
    texts.push_back(text.get<std::string>());
    if (texts.back().empty()) return error(absl::StrCat("element ", texts.size() - 1, " is empty"));
  }
  return texts;
}

}  // namespace

absl::StatusOr<ChoiceRow> ParseChoiceRow(std::string_view line, const v1::MultipleChoice& task) {
  CALIPRESS_ASSIGN_OR_RETURN(const Json row, ParseLine(line));
  ChoiceRow parsed;
  CALIPRESS_ASSIGN_OR_RETURN(const Json* context, Field(row, task.context_field(), "context_field"));
  CALIPRESS_ASSIGN_OR_RETURN(const Json* choices, Field(row, task.choices_field(), "choices_field"));
  if (context->is_array()) {
    CALIPRESS_ASSIGN_OR_RETURN(parsed.contexts, Texts(*context, task.context_field()));
    CALIPRESS_ASSIGN_OR_RETURN(
        parsed.choices.emplace_back(),
        Text(*choices, task.choices_field(),
             absl::StrCat("the text that is scored after each element of '", task.context_field(), "', a string")));
    if (parsed.choices[0].empty()) return LineError(absl::StrCat("field '", task.choices_field(), "' is empty"));
  } else {
    CALIPRESS_ASSIGN_OR_RETURN(
        parsed.contexts.emplace_back(),
        Text(*context, task.context_field(), "a string (or, to choose from, a list of contexts)"));
    CALIPRESS_ASSIGN_OR_RETURN(parsed.choices, Texts(*choices, task.choices_field()));
  }
  CALIPRESS_ASSIGN_OR_RETURN(const Json* answer, Field(row, task.answer_field(), "answer_field"));
  const uint64_t last = parsed.options() - 1;
  // An integer that is not negative is unsigned to the library.
  if (!answer->is_number_unsigned() || answer->get<uint64_t>() > last) {
    return LineError(absl::StrCat("field '", task.answer_field(), "' must be the index of the right choice, 0 to ",
                                  last, "; it is ",
                                  answer->is_number_integer() ? answer->dump() : std::string(answer->type_name())));
  }
  parsed.answer = answer->get<int64_t>();
  return parsed;
}

}  // namespace calipress::tasks
