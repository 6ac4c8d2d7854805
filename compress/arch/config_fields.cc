#include "compress/arch/config_fields.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "nlohmann/json.hpp"

namespace calipress::arch {
namespace {

using nlohmann::json;

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

// The value as in the file, short enough for a message.
std::string Shown(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 40) text = text.substr(0, 37) + "...";
  return text;
}

}  // namespace

ConfigFields::ConfigFields(const json& object, std::string path) : object_(object), path_(std::move(path)) {}

const json* ConfigFields::Raw(std::string_view field) const {
  const auto found = object_.find(std::string(field));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigFields::Has(std::string_view field) const { return Raw(field) != nullptr; }

bool ConfigFields::HasKey(std::string_view field) const { return object_.contains(std::string(field)); }

void ConfigFields::Corrupt(std::string_view field, std::string_view problem) {
  if (!status_.ok()) return;
  status_ = PreconditionError(reason::kSourceModelCorrupt,
                              absl::StrCat("config.json: ", path_, Absl(field), " ", Absl(problem)));
}

void ConfigFields::Unsupported(std::string_view field, std::string_view problem) {
  if (!status_.ok()) return;
  status_ = PreconditionError(reason::kUnsupportedModel,
                              absl::StrCat("config.json: ", path_, Absl(field), " ", Absl(problem)));
}

void ConfigFields::Merge(const ConfigFields& other) {
  if (status_.ok()) status_ = other.status_;
}

std::optional<int64_t> ConfigFields::OptionalInteger(std::string_view field, int64_t low, int64_t high) {
  const json* value = Raw(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) {
    Corrupt(field, absl::StrCat("must be an integer, but is ", Shown(*value)));
    return std::nullopt;
  }
  // Unsigned values above the signed range are only ever too large.
  const bool too_large = value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (too_large || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    Corrupt(field, absl::StrCat("must be between ", low, " and ", high, ", but is ", Shown(*value)));
    return std::nullopt;
  }
  return value->get<int64_t>();
}

int64_t ConfigFields::Integer(std::string_view field, int64_t default_value, int64_t low, int64_t high) {
  return OptionalInteger(field, low, high).value_or(default_value);
}

std::optional<double> ConfigFields::OptionalNumber(std::string_view field, double low, double high) {
  const json* value = Raw(field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    Corrupt(field, absl::StrCat("must be a number, but is ", Shown(*value)));
    return std::nullopt;
  }
  const double number = value->get<double>();
  if (!std::isfinite(number) || number < low || number > high) {
    Corrupt(field, absl::StrCat("must be between ", low, " and ", high, ", but is ", Shown(*value)));
    return std::nullopt;
  }
  return number;
}

double ConfigFields::Number(std::string_view field, double default_value, double low, double high) {
  return OptionalNumber(field, low, high).value_or(default_value);
}

bool ConfigFields::Boolean(std::string_view field, bool default_value) {
  const json* value = Raw(field);
  if (value == nullptr) return default_value;
  if (value->is_boolean()) return value->get<bool>();
  Corrupt(field, absl::StrCat("must be true or false, but is ", Shown(*value)));
  return default_value;
}

std::string ConfigFields::Text(std::string_view field, std::string_view default_value) {
  const json* value = Raw(field);
  if (value == nullptr) return std::string(default_value);
  if (value->is_string()) return value->get<std::string>();
  Corrupt(field, absl::StrCat("must be a text, but is ", Shown(*value)));
  return std::string(default_value);
}

}  // namespace calipress::arch
