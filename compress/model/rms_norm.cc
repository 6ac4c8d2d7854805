#include "compress/model/rms_norm.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "compress/model/rms_norm_rows.h"

namespace calipress::model {
namespace {

template <typename T>
void NormRows(const void* input, const void* weight, float eps, int64_t rows, int64_t size, void* output) {
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(size, 1));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch(size);
    RmsNormRows(static_cast<const T*>(input) + begin * size, static_cast<const T*>(weight), eps, end - begin, size,
                scratch.data(), static_cast<T*>(output) + begin * size);
  });
}

// False where there is no kernel for these tensors.
bool NormOnCpu(const at::Tensor& input, const at::Tensor& weight, double eps, const at::Tensor& output) {
  if (!input.is_cpu() || !weight.is_cpu() || weight.scalar_type() != input.scalar_type()) return false;
  if (weight.dim() != 1 || input.dim() == 0 || input.size(-1) != weight.size(0) || weight.size(0) == 0) return false;
  if (!input.is_contiguous() || !weight.is_contiguous()) return false;
  const int64_t size = weight.size(0);
  const int64_t rows = input.numel() / size;
  const float narrow_eps = static_cast<float>(eps);
  if (input.scalar_type() == at::kBFloat16) {
    NormRows<uint16_t>(input.const_data_ptr(), weight.const_data_ptr(), narrow_eps, rows, size,
                       output.mutable_data_ptr());
  } else if (input.scalar_type() == at::kFloat) {
    NormRows<float>(input.const_data_ptr(), weight.const_data_ptr(), narrow_eps, rows, size, output.mutable_data_ptr());
  } else {
    return false;
  }
  return true;
}

at::Tensor NormByOperations(const at::Tensor& input, const at::Tensor& weight, double eps) {
  const at::Tensor wide = input.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(wide.pow(2).mean(-1, /*keepdim=*/true).add_(eps));
  return weight * (wide * scale).to(input.scalar_type());
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& input, const at::Tensor& weight, double eps) {
  const at::Tensor contiguous = input.contiguous();
  at::Tensor output = at::empty_like(contiguous);
  if (NormOnCpu(contiguous, weight, eps, output)) return output;
  return NormByOperations(contiguous, weight, eps);
}

void RmsNormInPlace(at::Tensor& input, const at::Tensor& weight, double eps) {
  if (NormOnCpu(input, weight, eps, input)) return;
  input = NormByOperations(input, weight, eps);
}

}  // namespace calipress::model
