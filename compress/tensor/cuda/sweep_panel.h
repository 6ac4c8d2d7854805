#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace calipress::tensor {

// Widest panel of LaunchSweepPanel: its columns lie in the registers of one warp.
inline constexpr int kSweepPanelColumns = 1024;

enum class PanelRounding { kNone, kBf16, kF16 };

// Pointers of a SweepPanel (device_kernels.h), [rows, columns] row-major, feedback [columns, columns].
struct SweepPanelPointers {
  const float* weight;
  const float* target;
  const float* feedback;
  const float* scale;
  const float* low;
  const float* high;
  float* multiple;
  float* error;
  float* residual;
  int64_t rows;
  int columns;
  PanelRounding rounding;
};

// Queues the sweep on the stream. cudaErrorInvalidValue for more than kSweepPanelColumns columns.
cudaError_t LaunchSweepPanel(const SweepPanelPointers& panel, cudaStream_t stream);

}  // namespace calipress::tensor
