#pragma once

#include <string>
#include <vector>

#include "client/cli/console.h"

namespace calipress::cli {

// The `calipress` program: picks the verb, runs it, gives the exit code (exit_code.h). `arguments` without the
// program's name.
int RunProgram(const std::vector<std::string>& arguments, const Console& console);

}  // namespace calipress::cli
