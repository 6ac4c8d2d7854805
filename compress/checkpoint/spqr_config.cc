// config.json of SpQR checkpoints: checkpoint::SpqrConfig and ParseSpqrConfig.
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/json_nesting.h"
#include "compress/checkpoint/spqr_layout.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kMethod[] = "spqr";
constexpr int64_t kVersion = 1;
constexpr size_t kNameLimit = 1000, kNamesLimit = 1'000'000;

absl::Status Unsupported(std::string_view what) {
  return PreconditionError(reason::kUnsupportedModel, "quantization_config: " + std::string(what) +
                                                          "; docs/formats/spqr.md has what calipress reads of SpQR");
}

absl::StatusOr<int64_t> Number(const Json& entry, const char* name, int64_t low, int64_t high) {
  const auto found = entry.find(name);
  if (found == entry.end() || !found->is_number_integer()) return Unsupported(std::string(name) + " is missing");
  // Unsigned numbers above the range of int64 would wrap.
  const bool huge = found->is_number_unsigned() && found->get<uint64_t>() > static_cast<uint64_t>(high);
  if (huge || found->get<int64_t>() < low || found->get<int64_t>() > high) {
    return Unsupported(std::string(name) + " is not " + std::to_string(low) + " to " + std::to_string(high));
  }
  return found->get<int64_t>();
}

}  // namespace

absl::StatusOr<std::string> SpqrConfig(std::string_view source_config, const SpqrScheme& scheme,
                                       const std::vector<std::string>& dense) {
  if (NestsTooDeep(source_config)) return Corrupt("config.json nests too deep to be a model's config");
  Json config = Json::parse(source_config, nullptr, false);
  if (!config.is_object()) return Corrupt("config.json is not a JSON object");
  config["quantization_config"] = {{"quant_method", kMethod},
                                   {"version", kVersion},
                                   {"bits", scheme.bits},
                                   {"group_size", scheme.group_size},
                                   {"scale_bits", scheme.scale_bits},
                                   {"zero_bits", scheme.zero_bits},
                                   {"scale_group_size", scheme.scale_group_size},
                                   {"act_order", scheme.act_order},
                                   {"modules_to_not_convert", dense}};
  return config.dump(2) + "\n";
}

absl::StatusOr<std::optional<SpqrQuantization>> ParseSpqrConfig(std::string_view config_json) {
  if (NestsTooDeep(config_json)) return Corrupt("config.json nests too deep to be a model's config");
  const Json config = Json::parse(config_json, nullptr, false);
  if (!config.is_object()) return Corrupt("config.json is not a JSON object");
  const auto entry = config.find("quantization_config");
  if (entry == config.end() || !entry->is_object() || entry->value("quant_method", Json()) != kMethod) {
    return std::nullopt;
  }
  SpqrQuantization parsed;
  SpqrScheme& scheme = parsed.scheme;
  CALIPRESS_RETURN_IF_ERROR(Number(*entry, "version", kVersion, kVersion).status());
  CALIPRESS_ASSIGN_OR_RETURN(const int64_t bits, Number(*entry, "bits", 2, 4));
  CALIPRESS_ASSIGN_OR_RETURN(const int64_t scale_bits, Number(*entry, "scale_bits", 1, 8));
  CALIPRESS_ASSIGN_OR_RETURN(const int64_t zero_bits, Number(*entry, "zero_bits", 1, 8));
  CALIPRESS_ASSIGN_OR_RETURN(scheme.group_size, Number(*entry, "group_size", 1, 1 << 20));
  CALIPRESS_ASSIGN_OR_RETURN(scheme.scale_group_size, Number(*entry, "scale_group_size", 1, 1 << 20));
  scheme.bits = static_cast<int>(bits);
  scheme.scale_bits = static_cast<int>(scale_bits);
  scheme.zero_bits = static_cast<int>(zero_bits);
  const Json act_order = entry->value("act_order", Json());
  if (!act_order.is_boolean()) return Unsupported("act_order is neither true nor false");
  scheme.act_order = act_order.get<bool>();
  const Json dense = entry->value("modules_to_not_convert", Json::array());
  if (!dense.is_array() || dense.size() > kNamesLimit) return Unsupported("modules_to_not_convert is not a list");
  for (const Json& name : dense) {
    if (!name.is_string() || name.get_ref<const std::string&>().size() > kNameLimit) {
      return Unsupported("modules_to_not_convert has an entry that is not a short text");
    }
    parsed.dense.push_back(name.get<std::string>());
  }
  return parsed;
}

}  // namespace calipress::checkpoint
