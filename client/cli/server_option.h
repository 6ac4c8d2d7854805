#pragma once

#include <memory>
#include <string>

#include "client/lib/compression_client.h"

namespace CLI {
class App;
}

namespace calipress::cli {

// --server HOST:PORT, or CALIPRESS_SERVER. `address` outlives the command.
void AddServerOption(CLI::App* command, std::string* address);

// --json. `json` outlives the command.
void AddJsonOption(CLI::App* command, bool* json);

// JOB. `job` outlives the command.
void AddJobOption(CLI::App* command, std::string* job);

}  // namespace calipress::cli
