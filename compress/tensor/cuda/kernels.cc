#include "compress/tensor/cuda/kernels.h"

#include <algorithm>

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "compress/tensor/cuda/sweep_panel.h"
#include "compress/tensor/device_kernels.h"

namespace calipress::tensor {
namespace {

cudaDataType_t CublasType(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return CUDA_R_16BF;
    case at::kHalf:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

// Row-major x [tokens, n] is column-major [n, tokens], and the row-major lower triangle of the sum is the column-major
// upper one: strips of columns, each down to its own diagonal, skip most of the other half.
void AccumulateGram(const at::Tensor& x, at::Tensor& sum) {
  constexpr int64_t kStrip = 1024;
  const c10::cuda::CUDAGuard guard(x.device());
  cublasHandle_t handle = at::cuda::getCurrentCUDABlasHandle();
  const int64_t n = x.size(1);
  const int64_t bytes = static_cast<int64_t>(x.element_size());
  const cudaDataType_t type = CublasType(x.scalar_type());
  const float one = 1.0f;
  const char* data = static_cast<const char*>(x.const_data_ptr());
  float* target = sum.mutable_data_ptr<float>();
  for (int64_t first = 0; first < n; first += kStrip) {
    const int64_t width = std::min(kStrip, n - first);
    const cublasStatus_t status =
        cublasGemmEx(handle, CUBLAS_OP_N, CUBLAS_OP_T, static_cast<int>(first + width), static_cast<int>(width),
                     static_cast<int>(x.size(0)), &one, data, type, static_cast<int>(n), data + first * bytes, type,
                     static_cast<int>(n), &one, target + first * n, CUDA_R_32F, static_cast<int>(n), CUBLAS_COMPUTE_32F,
                     CUBLAS_GEMM_DEFAULT);
    TORCH_CHECK(status == CUBLAS_STATUS_SUCCESS, "cuBLAS: x' x failed: ", cublasGetStatusString(status));
  }
}

PanelRounding RoundingOf(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return PanelRounding::kBf16;
    case at::kHalf:
      return PanelRounding::kF16;
    default:
      return PanelRounding::kNone;
  }
}

void SweepOnePanel(SweepPanel& panel) {
  const c10::cuda::CUDAGuard guard(panel.weight.device());
  const SweepPanelPointers pointers{panel.weight.const_data_ptr<float>(),     panel.target.const_data_ptr<float>(),
                                    panel.feedback.const_data_ptr<float>(),   panel.scale.const_data_ptr<float>(),
                                    panel.low.const_data_ptr<float>(),        panel.high.const_data_ptr<float>(),
                                    panel.multiple.mutable_data_ptr<float>(), panel.error.mutable_data_ptr<float>(),
                                    panel.residual.mutable_data_ptr<float>(), panel.weight.size(0),
                                    static_cast<int>(panel.weight.size(1)),   RoundingOf(panel.dtype)};
  C10_CUDA_CHECK(LaunchSweepPanel(pointers, at::cuda::getCurrentCUDAStream()));
}

}  // namespace

void RegisterCudaKernels() { RegisterDeviceKernels(at::kCUDA, {&AccumulateGram, &SweepOnePanel, kSweepPanelColumns}); }

}  // namespace calipress::tensor
