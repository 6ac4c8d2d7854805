#include <CLI/CLI.hpp>

#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/embedded/local_job.h"
#include "client/cli/embedded/output_database.h"
#include "client/cli/exit_code.h"
#include "client/cli/job_request.h"
#include "client/cli/output/error_text.h"
#include "client/cli/server_option.h"
#include "client/cli/verbs/verbs.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  calipress run ./model ./out --recipe gptq-w4a16 --calibration train.jsonl\n"
    "  calipress run ./model ./out --recipe recipe.yaml --workers 2 --threads-per-worker 4\n"
    "  calipress run ./model s3://bucket/out --recipe rtn-w4a16 --set steps[0].rtn.group_size=64\n\n"
    "Ctrl-C cancels the job. A run that was killed goes on from its last finished block when it is started again with\n"
    "the same arguments.\n";

struct Arguments {
  JobArguments job;
  LocalClusterOptions cluster;
  bool json = false;
};

int Run(const Arguments& arguments, const Console& console) {
  const Interrupt interrupt;  // first: reading the recipe may start threads
  const auto request = BuildRequest(arguments.job);
  if (!request.ok()) {
    console.err << ErrorText(request.status());
    return ExitCodeOf(request.status());
  }
  auto database = OutputDatabase::Open(request->compression_job().output());
  if (!database.ok()) {
    console.err << ErrorText(database.status());
    return ExitCodeOf(database.status());
  }
  LocalClusterOptions cluster = arguments.cluster;
  cluster.database = database->path();
  const LocalJobResult result = RunLocalJob(*request, cluster, arguments.json, interrupt, console);
  // What a failed or interrupted job left behind is the next run's to go on from, or to sweep.
  if (result.exit_code == kDone || !result.accepted) database->Remove();
  return result.exit_code;
}

}  // namespace

void AddRun(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("run", "compress a model here, with workers of its own");
  AddJobArguments(command, &arguments->job);
  AddLocalOptions(command, &arguments->cluster);
  command->add_option("--workers", arguments->cluster.workers, "worker processes, each with a share of the blocks")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  AddJsonOption(command, &arguments->json);
  command->footer(absl::StrCat(kFooter, kUriHelp));
  command->callback([=] {
    arguments->job.workers = arguments->cluster.workers;
    arguments->job.device = arguments->cluster.device;
    *action = [=](const Console& console) { return Run(*arguments, console); };
  });
}

}  // namespace calipress::cli
