#pragma once

namespace calipress::tensor {

// Makes the kernels of this folder those of at::kCUDA. Once, before anything runs on the device.
void RegisterCudaKernels();

}  // namespace calipress::tensor
