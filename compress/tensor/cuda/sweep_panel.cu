#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "compress/tensor/cuda/sweep_panel.h"

namespace calipress::tensor {
namespace {

constexpr int kWarp = 32;
constexpr int kWarpsPerBlock = 8;

template <PanelRounding rounding>
__device__ float Round(float value) {
  if constexpr (rounding == PanelRounding::kBf16) return __bfloat162float(__float2bfloat16_rn(value));
  if constexpr (rounding == PanelRounding::kF16) return __half2float(__float2half_rn(value));
  return value;
}

// Rows are independent, so each is one warp's. Lane l holds columns l, l + 32, ... of the running target; the lane that
// owns column i quantizes it and tells the others its error. Intrinsics keep the compiler from fusing a product into a
// difference: what is written must be the value that a loader computes.
template <int kPerLane, PanelRounding rounding>
__global__ void SweepRows(SweepPanelPointers panel) {
  const int lane = threadIdx.x;
  const int64_t row = int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.y;
  if (row >= panel.rows) return;
  const int64_t base = row * panel.columns;
  float target[kPerLane];
#pragma unroll
  for (int k = 0; k < kPerLane; ++k) {
    const int column = k * kWarp + lane;
    target[k] = column < panel.columns ? panel.target[base + column] : 0.0f;
  }
#pragma unroll
  for (int k = 0; k < kPerLane; ++k) {
    for (int owner = 0; owner < kWarp; ++owner) {
      const int i = k * kWarp + owner;
      if (i >= panel.columns) return;
      float error = 0.0f;
      if (lane == owner) {
        const int64_t at = base + i;
        const float scale = panel.scale[at];
        const float multiple = rintf(fminf(fmaxf(__fdiv_rn(target[k], scale), panel.low[at]), panel.high[at]));
        const float value = Round<rounding>(__fmul_rn(multiple, scale));
        error = __fsub_rn(panel.weight[at], value);
        panel.multiple[at] = multiple;
        panel.error[at] = error;
        panel.residual[at] = __fsub_rn(target[k], value);
      }
      error = __shfl_sync(0xffffffffu, error, owner);
      const float* feedback = panel.feedback + int64_t{i} * panel.columns;
#pragma unroll
      for (int later = k; later < kPerLane; ++later) {
        const int column = later * kWarp + lane;
        if (column > i && column < panel.columns) target[later] = fmaf(__ldg(feedback + column), error, target[later]);
      }
    }
  }
}

template <int kPerLane>
void LaunchFor(const SweepPanelPointers& panel, cudaStream_t stream) {
  const dim3 block(kWarp, kWarpsPerBlock);
  const unsigned blocks = static_cast<unsigned>((panel.rows + kWarpsPerBlock - 1) / kWarpsPerBlock);
  switch (panel.rounding) {
    case PanelRounding::kNone:
      SweepRows<kPerLane, PanelRounding::kNone><<<blocks, block, 0, stream>>>(panel);
      return;
    case PanelRounding::kBf16:
      SweepRows<kPerLane, PanelRounding::kBf16><<<blocks, block, 0, stream>>>(panel);
      return;
    case PanelRounding::kF16:
      SweepRows<kPerLane, PanelRounding::kF16><<<blocks, block, 0, stream>>>(panel);
      return;
  }
}

}  // namespace

cudaError_t LaunchSweepPanel(const SweepPanelPointers& panel, cudaStream_t stream) {
  if (panel.columns > kSweepPanelColumns) return cudaErrorInvalidValue;
  if (panel.rows == 0 || panel.columns == 0) return cudaSuccess;
  if (panel.columns <= 4 * kWarp) {
    LaunchFor<4>(panel, stream);
  } else if (panel.columns <= 8 * kWarp) {
    LaunchFor<8>(panel, stream);
  } else {
    LaunchFor<kSweepPanelColumns / kWarp>(panel, stream);
  }
  return cudaGetLastError();
}

}  // namespace calipress::tensor
