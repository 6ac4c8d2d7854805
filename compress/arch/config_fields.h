#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "nlohmann/json_fwd.hpp"

namespace calipress::arch {

// Typed reads of one object of config.json. The first failure is kept and every later read gives its default, so that
// a caller reads all fields and looks at status() once. Never throws. `object` outlives the reader.
class ConfigFields {
 public:
  // `path` goes before field names in messages: "" or "rope_parameters.".
  ConfigFields(const nlohmann::json& object, std::string path);

  bool Has(std::string_view field) const;  // present and not null
  bool HasKey(std::string_view field) const;

  // An integer in [low, high]; absent or null gives the default.
  int64_t Integer(std::string_view field, int64_t default_value, int64_t low, int64_t high);
  std::optional<int64_t> OptionalInteger(std::string_view field, int64_t low, int64_t high);
  // A finite number in [low, high].
  double Number(std::string_view field, double default_value, double low, double high);
  std::optional<double> OptionalNumber(std::string_view field, double low, double high);
  bool Boolean(std::string_view field, bool default_value);
  std::string Text(std::string_view field, std::string_view default_value);
  // Null where absent or null.
  const nlohmann::json* Raw(std::string_view field) const;

  // SOURCE_MODEL_CORRUPT that names a field.
  void Corrupt(std::string_view field, std::string_view problem);
  // UNSUPPORTED_MODEL that names a field.
  void Unsupported(std::string_view field, std::string_view problem);

  const absl::Status& status() const { return status_; }
  // Takes over another reader's failure.
  void Merge(const ConfigFields& other);

 private:
  const nlohmann::json& object_;
  const std::string path_;
  absl::Status status_;
};

}  // namespace calipress::arch
