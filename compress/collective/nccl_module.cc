// The start of libcalipress_cuda.so. The module leaves the project's own symbols undefined: they are the program's,
// which exports them, so that there is one registry and one set of metrics.
#include <ATen/Context.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "compress/collective/cuda_module_entry.h"
#include "compress/collective/nccl_group.h"
#include "compress/collective/registry.h"
#include "compress/tensor/cuda/kernels.h"

namespace {

template <size_t size>
void Copy(const std::string& text, char (&target)[size]) {
  std::snprintf(target, size, "%s", text.c_str());
}

std::string VersionText(int version) {  // 13000 -> "13.0"
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void calipress_cuda_module_start(const char* program_revision,
                                                                                   CalipressCudaModule* module) {
  std::memset(module, 0, sizeof *module);
  if (std::strcmp(program_revision, CALIPRESS_REVISION) != 0) {
    return Copy(std::string("the CUDA module was built from revision " CALIPRESS_REVISION " and the program from ") +
                    program_revision + "; install both from one build",
                module->error);
  }
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    return Copy(std::string("the CUDA runtime finds no accelerator (") +
                    (error == cudaSuccess ? "none is visible" : cudaGetErrorString(error)) +
                    "); see that the NVIDIA driver is there, is new enough, and CUDA_VISIBLE_DEVICES does not hide it",
                module->error);
  }
  cudaDeviceProp properties;
  int device = 0;
  int runtime = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, device);
  if (error == cudaSuccess) error = cudaRuntimeGetVersion(&runtime);
  if (error != cudaSuccess) {
    return Copy(std::string("the accelerator does not answer: ") + cudaGetErrorString(error), module->error);
  }
  try {
    if (!at::hasCUDA()) {
      return Copy("libtorch was asked for CUDA before the module was loaded (a defect of calipress)", module->error);
    }
    at::globalContext().lazyInitDevice(at::kCUDA);
  } catch (const std::exception& e) {
    return Copy(std::string("libtorch cannot use the accelerator: ") + e.what(), module->error);
  }
  Copy(properties.name, module->device_name);
  Copy(VersionText(runtime), module->cuda_version);
  module->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  calipress::tensor::RegisterCudaKernels();
  calipress::collective::TameNcclWatchdogs();
  calipress::collective::RegisterBackend("nccl", &calipress::collective::JoinNccl);
}
