#include <string>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/utf8.h"
#include "compress/calibration/json_field.h"
#include "nlohmann/json.hpp"

namespace calipress::calibration {
namespace {

using nlohmann::ordered_json;

// The library prints by recursion, and no conversation nests deeper.
constexpr int kMaxDepth = 64;

absl::Status LineError(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

absl::StatusOr<ordered_json> ParseLine(std::string_view line) {
  const size_t invalid = FindInvalidUtf8(line);
  if (invalid != std::string_view::npos) return LineError(absl::StrCat("not valid UTF-8 at byte ", invalid + 1));
  bool deep = false;
  const auto keep = [&](int depth, ordered_json::parse_event_t, ordered_json&) {
    deep = deep || depth > kMaxDepth;
    return depth <= kMaxDepth;
  };
  ordered_json row = ordered_json::parse(line.begin(), line.end(), keep, /*allow_exceptions=*/false);
  if (deep) return LineError(absl::StrCat("nests deeper than ", kMaxDepth, " levels"));
  if (row.is_discarded()) return LineError("not valid JSON");
  return row;
}

absl::Status CheckMessage(const ordered_json& message, const std::string& name) {
  if (!message.is_object()) return LineError(absl::StrCat(name, " is not an object with role and content"));
  const auto role = message.find("role");
  if (role == message.end() || !role->is_string()) {
    return LineError(absl::StrCat(name, ".role ", role == message.end() ? "is missing" : "is not a string"));
  }
  const auto content = message.find("content");
  const bool empty = content == message.end() || content->is_null();
  if (empty && message.contains("tool_calls")) return absl::OkStatus();
  if (empty) return LineError(absl::StrCat(name, ".content is missing"));
  if (!content->is_string() && !content->is_array()) return LineError(absl::StrCat(name, ".content is not a string"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> MessagesOfJsonLine(std::string_view line, const std::string& field) {
  CALIPRESS_ASSIGN_OR_RETURN(const ordered_json row, ParseLine(line));
  if (!row.is_object()) {
    return LineError(absl::StrCat("is no JSON object like {\"", field, "\": [{\"role\": \"user\", ...}]}"));
  }
  const auto messages = row.find(field);
  if (messages == row.end()) {
    return LineError(absl::StrCat("has no field '", field, "'. Set `field` to the one with the messages"));
  }
  if (!messages->is_array() || messages->empty()) {
    return LineError(absl::StrCat("field '", field, "' is ", messages->is_array() ? "an empty list" : "no list",
                                  "; it must be a list of {role, content}"));
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    CALIPRESS_RETURN_IF_ERROR(CheckMessage((*messages)[i], absl::StrCat(field, "[", i, "]")));
  }
  return messages->dump();
}

}  // namespace calipress::calibration
