#include <CLI/CLI.hpp>

#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/follow_job.h"
#include "client/cli/interrupt.h"
#include "client/cli/job_request.h"
#include "client/cli/output/error_text.h"
#include "client/cli/output/json.h"
#include "client/cli/server_option.h"
#include "client/cli/verbs/verbs.h"
#include "compress/base/units.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  calipress submit s3://models/a s3://models/a-w4 --recipe gptq-w4a16 --calibration s3://texts/train.jsonl \\\n"
    "    --server host:7070 --wait\n"
    "  calipress submit /models/a /models/a-w4 --recipe recipe.yaml --server host:7070 --validate-only\n\n"
    "Paths must mean the same to the coordinator and the workers. Ctrl-C during --wait ends the watching, not the "
    "job.\n";

struct Arguments {
  JobArguments job;
  std::string server;
  std::string id;
  std::string request_id;
  bool wait = false;
  bool validate_only = false;
  bool json = false;
};

int Wait(client::CompressionClient* client, const Arguments& arguments, const std::string& name,
         const Interrupt& interrupt, const Console& console) {
  const auto view = console.Progress();
  const auto job = FollowJob(client, name, view.get(), interrupt.first());
  if (job.ok()) return ShowOutcome(*job, arguments.json, console);
  if (!interrupt.first().cancelled()) console.err << ErrorText(job.status());
  console.err << name << " goes on. To watch it: calipress watch " << name << " --server " << arguments.server
              << std::endl;
  return interrupt.first().cancelled() ? kInterrupted : ExitCodeOf(job.status());
}

void ShowPlan(const v1::CompressionJob& job, const Console& console) {
  const v1::Estimate& estimate = job.estimate();
  console.out << "the request is fine; nothing was stored\n"
              << "parameters     " << estimate.parameters() << " in " << estimate.blocks() << " blocks\n"
              << "size           " << FormatBytes(estimate.source_bytes()) << " -> at most "
              << FormatBytes(estimate.output_bytes()) << "\n"
              << "worker memory  at most " << FormatBytes(estimate.worker_memory_bytes()) << std::endl;
  for (const std::string& warning : estimate.warnings()) console.out << "warning: " << warning << std::endl;
}

int Submit(const Arguments& arguments, const Console& console) {
  std::optional<Interrupt> interrupt;  // before anything that starts threads
  if (arguments.wait) interrupt.emplace();
  auto request = BuildRequest(arguments.job);
  if (!request.ok()) {
    console.err << ErrorText(request.status());
    return ExitCodeOf(request.status());
  }
  request->set_compression_job_id(arguments.id);
  request->set_request_id(arguments.request_id);
  request->set_validate_only(arguments.validate_only);
  const auto client = client::CompressionClient::Connect(arguments.server);
  const auto job = client->Create(*request);
  if (!job.ok()) {
    console.err << ErrorText(job.status());
    return ExitCodeOf(job.status());
  }
  if (arguments.validate_only) {
    if (arguments.json) {
      console.out << JobJsonLine(*job) << std::endl;
    } else {
      ShowPlan(*job, console);
    }
    return kDone;
  }
  if (arguments.wait) {
    console.err << job->name() << std::endl;
    return Wait(client.get(), arguments, job->name(), *interrupt, console);
  }
  console.out << (arguments.json ? JobJsonLine(*job) : job->name()) << std::endl;
  return kDone;
}

}  // namespace

void AddSubmit(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("submit", "give a job to a coordinator");
  AddJobArguments(command, &arguments->job);
  AddServerOption(command, &arguments->server);
  command->add_flag("--wait", arguments->wait, "show progress until the job has ended, then its summary");
  command
      ->add_option("--request-id", arguments->request_id,
                   "a UUID: the same one with the same request makes no second job")
      ->type_name("ID");
  command->add_option("--id", arguments->id, "the job's name; default: the server makes one")->type_name("ID");
  command->add_flag("--validate-only", arguments->validate_only, "check the request and estimate, and store nothing")
      ->excludes("--wait");
  command->add_option("--workers", arguments->job.workers, "pipeline stages; default: as many as are idle")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command->add_option("--device", arguments->job.device, "cpu or cuda; default: any")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  AddJsonOption(command, &arguments->json);
  command->footer(absl::StrCat(kFooter, kUriHelp));
  command->callback([=] { *action = [=](const Console& console) { return Submit(*arguments, console); }; });
}

}  // namespace calipress::cli
