#pragma once

#include <map>
#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/arch/arch.h"
#include "compress/model/block.h"

namespace calipress::model {

// Tensors by name, from memory.
class MemoryWeights : public WeightSource {
 public:
  // Random tensors for everything that the model has; norms near 1.
  MemoryWeights(const arch::ArchSpec& spec, at::ScalarType dtype);

  absl::StatusOr<at::Tensor> Load(const arch::TensorSpec& tensor) const override;

  std::map<std::string, at::Tensor> tensors;
};

// A small model of one family with every option at its default.
arch::ArchSpec SmallSpec(const std::string& family);

}  // namespace calipress::model
