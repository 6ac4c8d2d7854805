#include "worker/device/cuda_module.h"

#include <dlfcn.h>

#include <filesystem>

#include "compress/base/error.h"
#include "compress/base/version.h"
#include "compress/collective/cuda_module_entry.h"

namespace calipress::worker {
namespace {

constexpr char kLibrary[] = "libcalipress_cuda.so";

absl::Status Unavailable(const std::string& what) {
  return EnvironmentError(reason::kDeviceUnavailable,
                          "device: cuda is not possible: " + what + "; set `device: cpu` to work without it");
}

std::string LoaderError() {
  const char* const text = dlerror();
  return text ? text : "unknown";
}

}  // namespace

std::vector<std::string> CudaModuleFolders() {
  std::error_code ignored;
  const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  return {folder.string(), (folder.parent_path() / "lib").string()};
}

absl::StatusOr<CudaModule> LoadCudaModule(const std::vector<std::string>& folders) {
  std::string path;
  std::string looked_in;
  for (const std::string& folder : folders) {
    const std::filesystem::path candidate = std::filesystem::path(folder) / kLibrary;
    std::error_code ignored;
    if (path.empty() && std::filesystem::exists(candidate, ignored)) path = candidate.string();
    looked_in += (looked_in.empty() ? "" : " and ") + folder;
  }
  if (path.empty()) {
    return Unavailable(std::string(kLibrary) + " is neither in " + looked_in +
                       " (build it with the preset `cuda`, or install the CUDA image)");
  }
  // Global, so that libtorch finds the CUDA libraries that come with it.
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) return Unavailable(path + " cannot be loaded: " + LoaderError());
  const auto start = reinterpret_cast<CalipressCudaModuleStart>(dlsym(library, kCalipressCudaModuleStart));
  if (!start) return Unavailable(path + " is not a module of calipress: " + LoaderError());

  CalipressCudaModule module{};
  start(std::string(BuildRevision()).c_str(), &module);
  if (module.error[0] != '\0') return Unavailable(module.error);
  return CudaModule{module.device_name, module.cuda_version, module.memory_bytes};
}

}  // namespace calipress::worker
