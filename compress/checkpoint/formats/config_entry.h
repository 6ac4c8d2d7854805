#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {

// config.json of checkpoints in the gptq and awq formats, for the formats and for ParseQuantizationConfig.

// config.json with its "quantization_config" and F16 as the model's dtype. All modules have one scheme.
absl::StatusOr<std::string> GptqConfig(std::string_view source_config, const std::vector<QuantizedModule>& modules,
                                       const std::vector<std::string>& dense);
absl::StatusOr<std::string> AwqConfig(std::string_view source_config, const std::vector<QuantizedModule>& modules,
                                      const std::vector<std::string>& dense);

// What such an entry says. UNSUPPORTED_MODEL for what calipress does not read.
absl::Status ReadGptqEntry(const nlohmann::ordered_json& entry, QuantizationConfig* config);
absl::Status ReadAwqEntry(const nlohmann::ordered_json& entry, QuantizationConfig* config);

// What these formats cannot hold, as LinearFormat has it.
std::vector<Misfit> NotIntegersInGroups(const QuantizationScheme& scheme, const std::string& format);
std::string SeveralSchemes(const std::vector<QuantizedModule>& modules, const std::string& format);
// "model.layers.3.mlp.up_proj" -> {"model.layers.3", "mlp.up_proj"}; the second is empty for what is in no block.
std::pair<std::string, std::string> CutAtBlock(const std::string& module);
// gptq names the linears to quantize once, for all blocks.
std::string DifferingBlocks(const std::vector<QuantizedModule>& modules, const std::vector<std::string>& dense);

}  // namespace calipress::checkpoint
