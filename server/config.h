#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/server.h"

namespace calipress::server {

// What calipress-coordinator is told.
struct Config {
  ServerOptions server;
  std::string log_level = "info";
  std::string log_file;  // empty: standard error
};

// Reads a configuration in YAML: see ConfigExample for the keys. INVALID_REQUEST with the line for malformed YAML,
// values of the wrong kind or out of range, and unknown keys, with the nearest one that there is.
absl::StatusOr<Config> ParseConfig(std::string_view yaml);

// A configuration file with every key at its default, and what it is for.
std::string_view ConfigExample();

}  // namespace calipress::server
