// The tensors of linears whose codes are not packed.
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::checkpoint {

std::vector<int64_t> PlainGridShape(const QuantizationScheme& scheme, int64_t out, int64_t in) {
  if (scheme.strategy == Strategy::kTensor) return {1};
  return {scheme.ScaleRows(out), scheme.Groups(in)};
}

std::vector<TensorPlan> QuantizedLinearPlan(std::string_view module, int64_t out, int64_t in,
                                            const QuantizationScheme& scheme, Dtype scale_dtype) {
  if (scheme.Packed()) return PackedLinearPlan(module, out, in, scheme, scale_dtype);
  const std::string name(module);
  const std::vector<int64_t> scales = PlainGridShape(scheme, out, in);
  const Dtype codes = scheme.type == NumberType::kFloat ? Dtype::kF8E4M3 : Dtype::kI8;
  std::vector<TensorPlan> plan = {{name + ".weight", codes, {out, in}}, {name + ".weight_scale", scale_dtype, scales}};
  if (!scheme.symmetric) plan.push_back({name + ".weight_zero_point", Dtype::kI8, scales});
  if (scheme.activations == Activations::kStatic) plan.push_back({name + ".input_scale", Dtype::kF32, {1}});
  return plan;
}

}  // namespace calipress::checkpoint
