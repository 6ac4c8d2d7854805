#include "client/cli/embedded/program_path.h"

#include <unistd.h>

#include <cstdlib>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "compress/base/error.h"

namespace calipress::cli {
namespace {

bool IsProgram(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

}  // namespace

absl::StatusOr<std::filesystem::path> FindProgram(const std::string& name) {
  std::error_code error;
  const std::filesystem::path own = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error && IsProgram(own.parent_path() / name)) return own.parent_path() / name;
  const char* path = std::getenv("PATH");
  for (const absl::string_view folder : absl::StrSplit(path == nullptr ? "" : path, ':', absl::SkipEmpty())) {
    const std::filesystem::path candidate = std::filesystem::path(std::string(folder)) / name;
    if (IsProgram(candidate)) return candidate;
  }
  return MakeError(absl::StatusCode::kNotFound, reason::kInternal, ErrorClass::kEnvironment,
                   absl::StrCat(name, " is neither in ", own.parent_path().string(),
                                " nor in PATH; build or install it beside calipress"));
}

}  // namespace calipress::cli
