#include <CLI/CLI.hpp>

#include <memory>

#include "absl/strings/ascii.h"
#include "client/cli/exit_code.h"
#include "client/cli/output/error_text.h"
#include "client/cli/output/json.h"
#include "client/cli/output/table.h"
#include "client/cli/server_option.h"
#include "client/cli/verbs/verbs.h"
#include "compress/base/units.h"
#include "compress/storage/object_store.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n  calipress list --server host:7070\n  calipress list --state running --state queued --server "
    "host:7070 --json";

struct Arguments {
  std::string server;
  std::vector<std::string> states;
  int limit = 50;
  bool json = false;
};

// Page by page, up to the limit.
absl::StatusOr<v1::ListCompressionJobsResponse> Jobs(const Arguments& arguments) {
  const auto client = client::CompressionClient::Connect(arguments.server);
  v1::ListCompressionJobsRequest request;
  for (const std::string& name : arguments.states) {
    v1::CompressionJob::State state = v1::CompressionJob::STATE_UNSPECIFIED;
    v1::CompressionJob::State_Parse(absl::AsciiStrToUpper(name), &state);
    request.add_states(state);
  }
  v1::ListCompressionJobsResponse all;
  while (all.compression_jobs_size() < arguments.limit) {
    request.set_page_size(arguments.limit - all.compression_jobs_size());
    auto page = client->List(request);
    if (!page.ok()) return page.status();
    all.mutable_compression_jobs()->MergeFrom(page->compression_jobs());
    all.set_next_page_token(page->next_page_token());
    request.set_page_token(page->next_page_token());
    if (page->next_page_token().empty()) break;
  }
  return all;
}

int List(const Arguments& arguments, const Console& console) {
  const auto jobs = Jobs(arguments);
  if (!jobs.ok()) {
    console.err << ErrorText(jobs.status());
    return ExitCodeOf(jobs.status());
  }
  if (arguments.json) {
    console.out << JsonLine(*jobs) << std::endl;
    return kDone;
  }
  Table table({{"job"}, {"state"}, {"done", Table::Align::kRight}, {"model"}, {"output"}});
  for (const v1::CompressionJob& job : jobs->compression_jobs()) {
    table.Add({job.name(), StateName(job.state()), FormatPercent(job.progress().fraction()),
               storage::RedactUri(job.model()), job.output().empty() ? "-" : storage::RedactUri(job.output())});
  }
  console.out << table.Render();
  if (!jobs->next_page_token().empty()) console.out << "... there are more: --limit N\n";
  console.out << std::flush;
  return kDone;
}

}  // namespace

void AddList(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("list", "show jobs, newest first");
  AddServerOption(command, &arguments->server);
  command->add_option("--state", arguments->states, "only jobs in this state; may be repeated")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::IsMember({"queued", "preparing", "running", "cancelling", "succeeded", "failed", "cancelled"},
                            CLI::ignore_case));
  command->add_option("--limit", arguments->limit, "at most so many")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] { *action = [=](const Console& console) { return List(*arguments, console); }; });
}

}  // namespace calipress::cli
