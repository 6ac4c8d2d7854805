#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/engine/context.h"

namespace calipress::engine {

// Where the recipe asks for an imatrix, a staged block's file carries the square sums of its four inputs, f32 [in],
// after the tensors of the checkpoint.
std::string SquareSumName(int input);
bool IsSquareSum(std::string_view tensor);
std::vector<checkpoint::TensorPlan> SquareSumPlan(const arch::ArchSpec& spec, int64_t block);

// Writes imatrix.gguf of all staged blocks into the attempt's staging folder; `block_uris` are in order. For rank 0,
// which knows the calibration set.
absl::Status WriteImatrix(StageContext& context, const std::vector<std::string>& block_uris);

}  // namespace calipress::engine
