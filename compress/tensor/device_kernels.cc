#include "compress/tensor/device_kernels.h"

#include <array>

namespace calipress::tensor {
namespace {

using Table = std::array<DeviceKernels, static_cast<size_t>(c10::COMPILE_TIME_MAX_DEVICE_TYPES)>;

Table& KernelTable() {
  static Table table;
  return table;
}

}  // namespace

void RegisterDeviceKernels(at::DeviceType type, const DeviceKernels& kernels) {
  KernelTable()[static_cast<size_t>(type)] = kernels;
}

const DeviceKernels& DeviceKernelsFor(at::DeviceType type) { return KernelTable()[static_cast<size_t>(type)]; }

}  // namespace calipress::tensor
