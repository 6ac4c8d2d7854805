#include "compress/model/linear.h"

#include <algorithm>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

#include "compress/tensor/cpu_features.h"

namespace calipress::model {
namespace {

// Outputs of a strip: its fp32 copies of weight and result are a few megabytes, whatever the layer.
constexpr int64_t kStripOutputs = 1024;

}  // namespace

at::Tensor LinearInFloat(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t outputs = weight.size(0);
  const at::Tensor rows = input.reshape({-1, weight.size(1)}).to(at::kFloat);
  at::Tensor result = at::empty({rows.size(0), outputs}, input.options());
  for (int64_t first = 0; first < outputs; first += kStripOutputs) {
    const int64_t count = std::min(kStripOutputs, outputs - first);
    at::Tensor strip = at::mm(rows, weight.narrow(0, first, count).to(at::kFloat).t());
    if (bias.defined()) strip.add_(bias.narrow(0, first, count).to(at::kFloat));
    result.narrow(1, first, count).copy_(strip);
  }
  std::vector<int64_t> shape = input.sizes().vec();
  shape.back() = outputs;
  return result.view(shape);
}

bool BetterInFloat(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) return false;
  switch (tensor.scalar_type()) {
    case at::kBFloat16:
      return !tensor::CpuHasFastAvx512Bf16() && !tensor::CpuHasAmxBf16();
    case at::kHalf:
      return !tensor::CpuHasAvx512Fp16();
    default:
      return false;
  }
}

at::Tensor Linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  if (BetterInFloat(weight)) return LinearInFloat(input, weight, bias);
  return at::linear(input, weight, bias);
}

}  // namespace calipress::model
