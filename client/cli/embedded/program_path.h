#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"

namespace calipress::cli {

// A program that lies beside this one, else one in PATH. NOT_FOUND says where it was looked for.
absl::StatusOr<std::filesystem::path> FindProgram(const std::string& name);

}  // namespace calipress::cli
