#include <algorithm>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/formats/config_entry.h"
#include "compress/checkpoint/json_nesting.h"
#include "compress/checkpoint/scheme_json.h"
#include "nlohmann/json.hpp"
#include "re2/re2.h"

namespace calipress::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kPatternLimit = 1000;

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
  std::string format(FormatOf(schemes[0]));
  for (size_t i = 0; i < schemes.size(); ++i) {
    Json names = schemes.size() == 1 ? Json::array({"Linear"}) : Json(targets[i]);
    groups["group_" + std::to_string(i)] = {{"targets", std::move(names)},
                                            {"format", FormatOf(schemes[i])},
                                            {"weights", WeightsEntry(schemes[i])},
                                            {"input_activations", InputsEntry(schemes[i])},
                                            {"output_activations", nullptr}};
    if (format != FormatOf(schemes[i])) format = "mixed-precision";
  }
  // Any other status than "compressed" makes transformers load random weights with no more than a warning.
  config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                   {"format", format},
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
    if (group.contains("output_activations") && !group["output_activations"].is_null()) {
      return Unsupported("output_activations are quantized");
    }
    CALIPRESS_ASSIGN_OR_RETURN(QuantizationScheme scheme, ReadScheme(format, group.value("weights", Json()),
                                                                     group.value("input_activations", Json())));
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
