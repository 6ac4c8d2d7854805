// config.json of checkpoints in the gptq and awq formats.
#include <set>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/version.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/formats/config_entry.h"
#include "compress/checkpoint/json_nesting.h"

namespace calipress::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

// The source's config as a model in F16, without what it said of quantization.
absl::StatusOr<Json> Float16Config(std::string_view source_config) {
  if (NestsTooDeep(source_config)) return Corrupt("config.json nests too deep to be a model's config");
  Json config = Json::parse(source_config, nullptr, false);
  if (!config.is_object()) return Corrupt("config.json is not a JSON object");
  config.erase("quantization_config");
  // transformers 5 writes `dtype`, older ones `torch_dtype`; some files have both.
  if (config.contains("dtype")) config["dtype"] = "float16";
  if (config.contains("torch_dtype") || !config.contains("dtype")) config["torch_dtype"] = "float16";
  return config;
}

// What is quantized inside of a block; the blocks are alike.
std::set<std::string> NamesInBlock(const std::vector<QuantizedModule>& modules) {
  std::set<std::string> names;
  for (const QuantizedModule& module : modules) names.insert(CutAtBlock(module.module).second);
  return names;
}

absl::Status Check(const LinearFormat& format, const std::vector<QuantizedModule>& modules,
                   const std::vector<std::string>& dense) {
  if (modules.empty())
    return DefectError(absl::StrCat("a checkpoint without quantized linears in ", std::string(format.name())));
  const std::string misfit = format.ModelMisfit(modules, dense);
  return misfit.empty() ? absl::OkStatus() : DefectError(misfit);
}

}  // namespace

absl::StatusOr<std::string> GptqConfig(std::string_view source_config, const std::vector<QuantizedModule>& modules,
                                       const std::vector<std::string>& dense) {
  CALIPRESS_RETURN_IF_ERROR(Check(Gptq(), modules, dense));
  CALIPRESS_ASSIGN_OR_RETURN(Json config, Float16Config(source_config));
  const QuantizationScheme scheme = modules.front().scheme.Normalized();
  Json entry = {{"quant_method", "gptq"},
                {"bits", scheme.bits},
                {"group_size", scheme.group_size},
                // Groups are runs of columns as they stand, whatever the order in which they were quantized.
                {"desc_act", false},
                {"sym", true},
                {"lm_head", false},
                {"checkpoint_format", "gptq"},
                {"pack_dtype", "int32"},
                {"meta", {{"quantizer", {absl::StrCat("calipress:", std::string(kVersion))}}}}};
  // The head is dense always; readers take every linear of the blocks where nothing is named.
  if (dense.size() > 1) {
    Json lists = Json::array();
    for (const std::string& name : NamesInBlock(modules)) lists.push_back(Json::array({name}));
    entry["modules_in_block_to_quantize"] = std::move(lists);
  }
  config["quantization_config"] = std::move(entry);
  return config.dump(2) + "\n";
}

absl::StatusOr<std::string> AwqConfig(std::string_view source_config, const std::vector<QuantizedModule>& modules,
                                      const std::vector<std::string>& dense) {
  CALIPRESS_RETURN_IF_ERROR(Check(Awq(), modules, dense));
  CALIPRESS_ASSIGN_OR_RETURN(Json config, Float16Config(source_config));
  const QuantizationScheme scheme = modules.front().scheme.Normalized();
  // Whole paths: readers look for these texts in the paths of linears.
  config["quantization_config"] = {{"quant_method", "awq"}, {"bits", scheme.bits}, {"group_size", scheme.group_size},
                                   {"zero_point", true},    {"version", "gemm"},   {"modules_to_not_convert", dense}};
  return config.dump(2) + "\n";
}

}  // namespace calipress::checkpoint
