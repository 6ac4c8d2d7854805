#include <algorithm>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/formats/config_entry.h"
#include "compress/checkpoint/json_nesting.h"
#include "nlohmann/json.hpp"
#include "re2/re2.h"

namespace calipress::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFormat[] = "pack-quantized";
constexpr size_t kPatternLimit = 1000;

Json WeightsEntry(const QuantizationScheme& scheme) {
  Json weights = {{"num_bits", scheme.bits}, {"type", "int"}, {"symmetric", scheme.symmetric}};
  if (scheme.group_size < 0) {
    weights["strategy"] = "channel";
  } else {
    weights["strategy"] = "group";
    weights["group_size"] = scheme.group_size;
  }
  weights["dynamic"] = false;
  return weights;
}

absl::Status Unsupported(std::string_view what) {
  return PreconditionError(reason::kUnsupportedModel,
                           "quantization_config: " + std::string(what) +
                               "; calipress reads compressed-tensors in the pack-quantized format, gptq, awq and spqr");
}

absl::StatusOr<QuantizationScheme> ReadScheme(const Json& weights) {
  if (!weights.is_object()) return Unsupported("a config group has no weights");
  QuantizationScheme scheme;
  const auto bits = weights.find("num_bits");
  if (bits == weights.end() || !bits->is_number_integer()) return Unsupported("weights.num_bits is missing");
  const int64_t width = bits->get<int64_t>();
  if (width < 2 || width > 8) return Unsupported("weights.num_bits is not 2 to 8");
  scheme.bits = static_cast<int>(width);
  if (weights.value("type", Json("int")) != "int") return Unsupported("weights.type is not int");
  if (weights.value("dynamic", Json(false)) != false) return Unsupported("weights.dynamic is not false");
  // Any other order keeps a group index beside the codes.
  const Json order = weights.value("actorder", Json());
  if (!order.is_null() && order != "static" && order != "weight") {
    return Unsupported("weights.actorder is " + Printable(order.dump()));
  }
  const Json symmetric = weights.value("symmetric", Json(true));
  if (!symmetric.is_boolean()) return Unsupported("weights.symmetric is neither true nor false");
  scheme.symmetric = symmetric.get<bool>();
  const Json strategy = weights.value("strategy", Json("channel"));
  if (strategy == "channel") {
    scheme.group_size = -1;
  } else if (strategy == "group") {
    const auto size = weights.find("group_size");
    if (size == weights.end() || !size->is_number_integer() || size->get<int64_t>() < 1) {
      return Unsupported("weights.group_size is missing");
    }
    scheme.group_size = size->get<int64_t>();
  } else {
    return Unsupported("weights.strategy is neither group nor channel");
  }
  return scheme;
}

absl::Status ReadNames(const Json& list, std::string_view field, std::vector<std::string>* names) {
  if (!list.is_array()) return Unsupported(std::string(field) + " is not a list");
  for (const Json& item : list) {
    if (!item.is_string() || item.get<std::string>().size() > kPatternLimit) {
      return Unsupported(std::string(field) + " has an entry that is not a short text");
    }
    names->push_back(item.get<std::string>());
    if (names->back().rfind("re:", 0) == 0) {
      // RE2: linear in time whatever the expression. Python's look-around and back-references are not in it.
      if (!RE2(names->back().substr(3), RE2::Quiet).ok()) {
        return Unsupported(std::string(field) + " has an invalid expression, " + Printable(names->back()));
      }
    }
  }
  return absl::OkStatus();
}

enum class Match { kNone, kClass, kPattern, kName };

// compressed-tensors: an exact path wins over an expression, and that over a class name.
Match Matches(const std::string& target, std::string_view module) {
  if (target == module) return Match::kName;
  if (target.rfind("re:", 0) == 0) {
    // Anchored at the start alone, like Python's re.match. Expressions were checked when they were read.
    const RE2 expression(target.substr(3), RE2::Quiet);
    const re2::StringPiece name(module.data(), module.size());
    return expression.Match(name, 0, name.size(), RE2::ANCHOR_START, nullptr, 0) ? Match::kPattern : Match::kNone;
  }
  return target == "Linear" ? Match::kClass : Match::kNone;
}

}  // namespace

absl::StatusOr<std::string> QuantizedConfig(std::string_view source_config, const std::vector<QuantizedModule>& modules,
                                            const std::vector<std::string>& dense) {
  if (NestsTooDeep(source_config)) return Corrupt("config.json nests too deep to be a model's config");
  Json config = Json::parse(source_config, nullptr, false);
  if (!config.is_object()) return Corrupt("config.json is not a JSON object");
  config.erase("quantization_config");
  if (modules.empty()) return config.dump(2) + "\n";

  std::vector<QuantizationScheme> schemes;
  std::vector<std::vector<std::string>> targets;
  for (const QuantizedModule& module : modules) {
    const auto found = std::find(schemes.begin(), schemes.end(), module.scheme);
    const size_t group = found - schemes.begin();
    if (found == schemes.end()) {
      schemes.push_back(module.scheme);
      targets.emplace_back();
    }
    targets[group].push_back(module.module);
  }
  Json groups = Json::object();
  for (size_t i = 0; i < schemes.size(); ++i) {
    Json names = schemes.size() == 1 ? Json::array({"Linear"}) : Json(targets[i]);
    groups["group_" + std::to_string(i)] = {{"targets", std::move(names)},
                                            {"format", kFormat},
                                            {"weights", WeightsEntry(schemes[i])},
                                            {"input_activations", nullptr},
                                            {"output_activations", nullptr}};
  }
  // Any other status than "compressed" makes transformers load random weights with no more than a warning.
  config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                   {"format", kFormat},
                                   {"quantization_status", "compressed"},
                                   {"config_groups", std::move(groups)},
                                   {"ignore", dense},
                                   {"kv_cache_scheme", nullptr},
                                   {"version", "0.17.0"}};
  return config.dump(2) + "\n";
}

absl::StatusOr<QuantizationConfig> ParseQuantizationConfig(std::string_view config_json) {
  QuantizationConfig parsed;
  if (NestsTooDeep(config_json)) return Corrupt("config.json nests too deep to be a model's config");
  const Json config = Json::parse(config_json, nullptr, false);
  if (!config.is_object()) return Corrupt("config.json is not a JSON object");
  const auto entry = config.find("quantization_config");
  if (entry == config.end() || entry->is_null()) return parsed;
  if (!entry->is_object()) return Unsupported("it is not an object");
  CALIPRESS_ASSIGN_OR_RETURN(parsed.spqr, ParseSpqrConfig(config_json));
  if (parsed.spqr) return parsed;
  const Json quantizer = entry->value("quant_method", Json());
  if (quantizer == "gptq" || quantizer == "awq") {
    CALIPRESS_RETURN_IF_ERROR(quantizer == "gptq" ? ReadGptqEntry(*entry, &parsed) : ReadAwqEntry(*entry, &parsed));
    return parsed;
  }
  if (entry->value("quant_method", Json()) != "compressed-tensors") {
    return Unsupported("quant_method is " + Printable(entry->value("quant_method", Json()).dump()));
  }
  if (entry->value("quantization_status", Json()) != "compressed") {
    return Unsupported("quantization_status is not \"compressed\"");
  }
  for (const char* part : {"kv_cache_scheme", "sparsity_config", "transform_config"}) {
    const auto found = entry->find(part);
    if (found == entry->end() || found->is_null() || (found->is_object() && found->empty())) continue;
    // Older writers say "dense" where there is no sparsity.
    const bool dense = found->is_object() && found->contains("format") && (*found)["format"] == "dense";
    if (!dense) {
      return Unsupported(std::string(part) + " is set");
    }
  }
  const auto groups = entry->find("config_groups");
  if (groups == entry->end() || !groups->is_object() || groups->size() > 1000) {
    return Unsupported("config_groups is missing");
  }
  for (const auto& [name, group] : groups->items()) {
    if (!group.is_object()) return Unsupported("config group " + Printable(name) + " is not an object");
    const Json format =
        group.contains("format") && !group["format"].is_null() ? group["format"] : entry->value("format", Json());
    if (format != kFormat) return Unsupported("the format is " + Printable(format.dump()));
    for (const char* activations : {"input_activations", "output_activations"}) {
      if (group.contains(activations) && !group[activations].is_null()) {
        return Unsupported(std::string(activations) + " are quantized");
      }
    }
    CALIPRESS_ASSIGN_OR_RETURN(QuantizationScheme scheme, ReadScheme(group.value("weights", Json())));
    parsed.schemes.push_back(scheme);
    CALIPRESS_RETURN_IF_ERROR(ReadNames(group.value("targets", Json()), "targets", &parsed.targets.emplace_back()));
  }
  if (entry->contains("ignore") && !(*entry)["ignore"].is_null()) {
    CALIPRESS_RETURN_IF_ERROR(ReadNames((*entry)["ignore"], "ignore", &parsed.ignore));
  }
  return parsed;
}

const SpqrScheme* QuantizationConfig::SpqrSchemeOf(std::string_view module) const {
  if (!spqr || std::find(spqr->dense.begin(), spqr->dense.end(), module) != spqr->dense.end()) return nullptr;
  return &spqr->scheme;
}

const QuantizationScheme* QuantizationConfig::SchemeOf(std::string_view module) const {
  for (const std::string& pattern : ignore) {
    if (Matches(pattern, module) != Match::kNone) return nullptr;
  }
  Match best = Match::kNone;
  const QuantizationScheme* scheme = nullptr;
  for (size_t group = 0; group < schemes.size(); ++group) {
    for (const std::string& target : targets[group]) {
      const Match match = Matches(target, module);
      if (match <= best) continue;
      best = match;
      scheme = &schemes[group];
    }
  }
  return scheme;
}

}  // namespace calipress::checkpoint
