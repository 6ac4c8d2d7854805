#pragma once

#include <memory>
#include <string>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include "absl/status/statusor.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/model/block.h"

namespace calipress::model {

at::ScalarType ToScalarType(Dtype dtype);
// Of a floating type that checkpoints have.
Dtype FromScalarType(at::ScalarType type);

// A checkpoint as a source of weights in `dtype` on `device`. Linears that `quantization` names are read from their
// packed tensors and dequantized as loaders do. `reader` outlives the result.
std::unique_ptr<WeightSource> CheckpointWeights(const checkpoint::ModelReader& reader,
                                                checkpoint::QuantizationConfig quantization, at::ScalarType dtype,
                                                at::Device device);

}  // namespace calipress::model
