#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/compression_service.pb.h"

namespace CLI {
class App;
}

namespace calipress::cli {

// What `run` and `submit` have in common.
struct JobArguments {
  std::string model;
  std::string output;
  std::string recipe;       // a file, a URI or a preset's name
  std::string calibration;  // "": as in the recipe
  std::vector<std::string> sets;
  std::string device;
  int workers = 0;
};

// Adds MODEL, OUTPUT, --recipe, --set and --calibration. `arguments` outlives the command.
void AddJobArguments(CLI::App* command, JobArguments* arguments);

// The request without an id. Errors are the user's (no such recipe, INVALID_RECIPE with violations).
absl::StatusOr<v1::CreateCompressionJobRequest> BuildRequest(const JobArguments& arguments);

// "Paths are relative to the current folder ...", for help texts.
inline constexpr char kUriHelp[] =
    "MODEL, OUTPUT and the URIs of a recipe are paths (relative to the current folder) or file://, s3://, gs://,\n"
    "abfs:// URIs.";

}  // namespace calipress::cli
