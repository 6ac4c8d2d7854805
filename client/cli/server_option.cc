#include "client/cli/server_option.h"

#include <CLI/CLI.hpp>

namespace calipress::cli {

void AddServerOption(CLI::App* command, std::string* address) {
  command->add_option("--server", *address, "the coordinator's address")
      ->required()
      ->type_name("HOST:PORT")
      ->envname("CALIPRESS_SERVER");
}

void AddJsonOption(CLI::App* command, bool* json) {
  command->add_flag("--json", *json, "one line of JSON (in the API's field names) in place of text");
}

void AddJobOption(CLI::App* command, std::string* job) {
  command->add_option("JOB", *job, "the job's name, with or without compressionJobs/")->required();
}

}  // namespace calipress::cli
