#include "compress/calibration/json_field.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/utf8.h"
#include "nlohmann/json.hpp"

namespace calipress::calibration {
namespace {

absl::Status LineError(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

// Picks one field out of the parser's events, so that no tree is built of the rest. A false stops the parser.
class FieldPicker : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit FieldPicker(const std::string& field) : field_(field) {}

  // None: there is no such field.
  absl::StatusOr<std::optional<std::string>> Pick(std::string_view line) {
    const size_t invalid = FindInvalidUtf8(line);
    if (invalid != std::string_view::npos) return LineError(absl::StrCat("not valid UTF-8 at byte ", invalid + 1));
    nlohmann::json::sax_parse(line.begin(), line.end(), this);
    if (!error_.empty()) return LineError(error_);
    if (!text_ && !kind_.empty()) {
      return LineError(absl::StrCat("field '", field_, "' is ", kind_, "; it must be a string"));
    }
    return std::move(text_);
  }

  absl::Status Missing() const {
    return LineError(absl::StrCat("has no field '", field_, "'",
                                  names_.empty() ? "" : absl::StrCat("; its fields are ", absl::StrJoin(names_, ", ")),
                                  ". Set `field` to the one with the text"));
  }

  bool null() override { return Value("null"); }
  bool boolean(bool) override { return Value("true or false"); }
  bool number_integer(number_integer_t) override { return Value("a number"); }
  bool number_unsigned(number_unsigned_t) override { return Value("a number"); }
  bool number_float(number_float_t, const string_t&) override { return Value("a number"); }
  bool binary(binary_t&) override { return Value("binary"); }
  bool string(string_t& value) override {
    if (depth_ == 1 && wanted_) {
      text_ = std::move(value);
      return true;
    }
    return Value("a string");
  }

  bool start_object(size_t) override { return Open("an object", true); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open("a list", false); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    if (depth_ != 1) return true;
    wanted_ = name == field_;
    constexpr size_t kNames = 10;
    constexpr size_t kNameBytes = 40;
    if (names_.size() < kNames && name.size() <= kNameBytes) names_.push_back(name);
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    // The library's own words quote the text.
    error_ = absl::StrCat("not valid JSON at byte ", position);
    return false;
  }

 private:
  bool Value(const char* kind) {
    if (depth_ == 0) return NotObject(kind);
    if (depth_ == 1 && wanted_) {
      text_.reset();
      kind_ = kind;
    }
    return true;
  }

  bool Open(const char* kind, bool object) {
    if (depth_ == 0 && !object) return NotObject(kind);
    if (depth_ > 0) Value(kind);
    ++depth_;
    return true;
  }

  bool Close() {
    --depth_;
    return true;
  }

  bool NotObject(const char* kind) {
    error_ = absl::StrCat("is ", kind, "; a line must be a JSON object like {\"", field_, "\": \"...\"}");
    return false;
  }

  const std::string& field_;
  int64_t depth_ = 0;
  bool wanted_ = false;  // the value that comes is the field's
  std::optional<std::string> text_;
  std::string kind_;  // of a value that is no string
  std::vector<std::string> names_;
  std::string error_;
};

}  // namespace

absl::StatusOr<std::string> TextOfJsonLine(std::string_view line, const std::string& field) {
  FieldPicker picker(field);
  CALIPRESS_ASSIGN_OR_RETURN(std::optional<std::string> text, picker.Pick(line));
  if (!text) return picker.Missing();
  return *std::move(text);
}

absl::StatusOr<std::optional<std::string>> FindTextOfJsonLine(std::string_view line, const std::string& field) {
  return FieldPicker(field).Pick(line);
}

}  // namespace calipress::calibration
