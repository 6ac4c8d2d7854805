#include "testing_weights.h"

#include <vector>

#include <ATen/ATen.h>

#include "compress/base/error.h"

namespace calipress::model {

MemoryWeights::MemoryWeights(const arch::ArchSpec& spec, at::ScalarType dtype) {
  std::vector<arch::TensorSpec> all = arch::OuterTensors(spec);
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (arch::TensorSpec& tensor : arch::BlockTensors(spec, block)) all.push_back(std::move(tensor));
  }
  at::manual_seed(42);
  for (const arch::TensorSpec& tensor : all) {
    const bool norm = tensor.shape.size() == 1 && tensor.name.ends_with(".weight");
    const at::Tensor value = norm ? at::rand(tensor.shape) + 0.5 : at::randn(tensor.shape) * 0.2;
    tensors[tensor.name] = value.to(dtype);
  }
}

absl::StatusOr<at::Tensor> MemoryWeights::Load(const arch::TensorSpec& tensor) const {
  const auto found = tensors.find(tensor.name);
  if (found == tensors.end()) return PreconditionError(reason::kSourceModelCorrupt, "no tensor " + tensor.name);
  return found->second;
}

arch::ArchSpec SmallSpec(const std::string& family) {
  arch::ArchSpec spec;
  spec.family = family;
  spec.model_type = family;
  spec.hidden = 48;
  spec.intermediate = 80;
  spec.blocks = 2;
  spec.heads = 6;
  spec.kv_heads = 2;
  spec.head_dim = 8;
  spec.vocabulary = 61;
  spec.max_positions = 128;
  spec.sliding_window = {0, 0};
  spec.qkv_bias = family == "qwen2";
  spec.qk_norm = family == "qwen3";
  return spec;
}

}  // namespace calipress::model
