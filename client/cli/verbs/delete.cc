#include <CLI/CLI.hpp>

#include <memory>

#include "client/cli/exit_code.h"
#include "client/cli/output/error_text.h"
#include "client/cli/server_option.h"
#include "client/cli/uri_argument.h"
#include "client/cli/verbs/verbs.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] = "example: calipress delete quick-job --server host:7070";

struct Arguments {
  std::string job;
  std::string server;
};

int Delete(const Arguments& arguments, const Console& console) {
  const std::string name = JobName(arguments.job);
  const absl::Status status = client::CompressionClient::Connect(arguments.server)->Delete(name);
  if (!status.ok()) {
    console.err << ErrorText(status);
    return ExitCodeOf(status);
  }
  console.out << name << " is forgotten" << std::endl;
  return kDone;
}

}  // namespace

void AddDelete(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("delete", "forget a job that has ended; its output stays");
  AddJobOption(command, &arguments->job);
  AddServerOption(command, &arguments->server);
  command->footer(kFooter);
  command->callback([=] { *action = [=](const Console& console) { return Delete(*arguments, console); }; });
}

}  // namespace calipress::cli
