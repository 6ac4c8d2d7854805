#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {

// A config group's "weights" and "input_activations" (null where they are not quantized).
nlohmann::ordered_json WeightsEntry(const QuantizationScheme& scheme);
nlohmann::ordered_json InputsEntry(const QuantizationScheme& scheme);

// The scheme of a config group of `format`; UNSUPPORTED_MODEL for what calipress does not read.
absl::StatusOr<QuantizationScheme> ReadScheme(const nlohmann::ordered_json& format,
                                              const nlohmann::ordered_json& weights,
                                              const nlohmann::ordered_json& inputs);

// UNSUPPORTED_MODEL: `what` is why a quantization_config cannot be read.
absl::Status Unsupported(std::string_view what);

}  // namespace calipress::checkpoint
