#include <CLI/CLI.hpp>

#include <memory>

#include "client/cli/exit_code.h"
#include "client/cli/output/error_text.h"
#include "client/cli/output/json.h"
#include "client/cli/output/summary.h"
#include "client/cli/server_option.h"
#include "client/cli/uri_argument.h"
#include "client/cli/verbs/verbs.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] = "example: calipress get quick-job --server host:7070";

struct Arguments {
  std::string job;
  std::string server;
  bool json = false;
};

int Get(const Arguments& arguments, const Console& console) {
  const auto job = client::CompressionClient::Connect(arguments.server)->Get(JobName(arguments.job));
  if (!job.ok()) {
    console.err << ErrorText(job.status());
    return ExitCodeOf(job.status());
  }
  console.out << (arguments.json ? JobJsonLine(*job) + "\n" : JobText(*job)) << std::flush;
  return kDone;
}

}  // namespace

void AddGet(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("get", "show a job");
  AddJobOption(command, &arguments->job);
  AddServerOption(command, &arguments->server);
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] { *action = [=](const Console& console) { return Get(*arguments, console); }; });
}

}  // namespace calipress::cli
