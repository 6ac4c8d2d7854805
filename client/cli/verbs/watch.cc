#include <CLI/CLI.hpp>

#include <memory>

#include "client/cli/exit_code.h"
#include "client/cli/follow_job.h"
#include "client/cli/interrupt.h"
#include "client/cli/output/error_text.h"
#include "client/cli/server_option.h"
#include "client/cli/uri_argument.h"
#include "client/cli/verbs/verbs.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "example: calipress watch quick-job --server host:7070\n\nCtrl-C ends the watching, not the job. The exit code is "
    "the job's.";

struct Arguments {
  std::string job;
  std::string server;
  bool json = false;
};

// The events are what this verb is for, so they go to `out`, as lines: history is not drawn over.
int Watch(const Arguments& arguments, const Console& console) {
  const Interrupt interrupt;
  const auto client = client::CompressionClient::Connect(arguments.server);
  const auto view = arguments.json ? JsonProgress(console.out) : PlainProgress(console.out);
  const auto job = FollowJob(client.get(), JobName(arguments.job), view.get(), interrupt.first());
  if (!job.ok()) {
    if (interrupt.first().cancelled()) return kInterrupted;
    console.err << ErrorText(job.status());
    return ExitCodeOf(job.status());
  }
  return ExitCodeOf(job->state());
}

}  // namespace

void AddWatch(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("watch", "show a job's events, old and new, until it has ended");
  AddJobOption(command, &arguments->job);
  AddServerOption(command, &arguments->server);
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] { *action = [=](const Console& console) { return Watch(*arguments, console); }; });
}

}  // namespace calipress::cli
