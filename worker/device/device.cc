#include "worker/device/device.h"

#include <fstream>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "worker/device/cuda_module.h"
#include "worker/device/memory.h"

namespace calipress::worker {
namespace {

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
    if (begin != std::string::npos) return line.substr(begin);
  }
  return "unknown processor";
}

}  // namespace

absl::StatusOr<Device> OpenDevice(const std::string& kind) {
  if (kind == "cpu") return Device{kind, ProcessorName(), "gloo", "none", MemoryLimit()};
  if (kind == "cuda") {
    CALIPRESS_ASSIGN_OR_RETURN(const CudaModule module, LoadCudaModule(CudaModuleFolders()));
    return Device{kind, module.device_name, "nccl", module.cuda_version, module.memory_bytes};
  }
  return UserError(reason::kInvalidRequest, "device: \"" + kind + "\" is not known; it is cpu or cuda");
}

}  // namespace calipress::worker
