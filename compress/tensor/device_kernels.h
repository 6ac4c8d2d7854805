#pragma once

#include <ATen/core/Tensor.h>

namespace calipress::tensor {

// One panel of a column sweep on a device, in the order in which columns are processed. All fp32 and contiguous.
struct SweepPanel {
  at::Tensor weight;     // [rows, columns] the weights to quantize
  at::Tensor target;     // [rows, columns] weights plus the feedback of earlier panels; overwritten as columns pass
  at::Tensor feedback;   // [columns, columns]; entry (i, k), i < k: what column k takes of column i's error
  at::Tensor scale;      // [rows, columns]
  at::Tensor low;        // [rows, columns] smallest and largest multiple of the scale
  at::Tensor high;       // [rows, columns]
  at::ScalarType dtype;  // of the dequantized weight: multiples times scale are rounded to it
  at::Tensor multiple;   // out [rows, columns]: code - zero point
  at::Tensor error;      // out [rows, columns]: weight - dequantized
  at::Tensor residual;   // out [rows, columns]: target - dequantized
};

// Kernels that a device's module brings along (the CUDA module registers its own when it is loaded). A null entry means
// that plain ATen operations do the work: right on every device, slower.
struct DeviceKernels {
  // sum [n, n] fp32 += x' x, at least in the lower triangle; x [tokens, n] bf16, f16 or fp32, contiguous.
  void (*accumulate_gram)(const at::Tensor& x, at::Tensor& sum) = nullptr;
  void (*sweep_panel)(SweepPanel& panel) = nullptr;
  // The widest panel that sweep_panel takes.
  int64_t sweep_panel_columns = 0;
};

// Called once per device type, before any other thread uses the folder.
void RegisterDeviceKernels(at::DeviceType type, const DeviceKernels& kernels);

const DeviceKernels& DeviceKernelsFor(at::DeviceType type);

}  // namespace calipress::tensor
