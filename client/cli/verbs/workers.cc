#include <CLI/CLI.hpp>

#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/output/error_text.h"
#include "client/cli/output/json.h"
#include "client/cli/output/table.h"
#include "client/cli/server_option.h"
#include "client/cli/verbs/verbs.h"
#include "compress/base/units.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] = "example: calipress workers --server host:7070";

struct Arguments {
  std::string server;
  bool json = false;
};

int Workers(const Arguments& arguments, const Console& console) {
  const auto known = client::CompressionClient::Connect(arguments.server)->ListWorkers();
  if (!known.ok()) {
    console.err << ErrorText(known.status());
    return ExitCodeOf(known.status());
  }
  if (arguments.json) {
    console.out << JsonLine(*known) << std::endl;
    return kDone;
  }
  using Align = Table::Align;
  Table table({{"worker"},
               {"state"},
               {"device"},
               {"threads", Align::kRight},
               {"memory", Align::kRight},
               {"seen", Align::kRight},
               {"job"}});
  for (const v1::WorkerInfo& worker : known->workers()) {
    table.Add({worker.id(), v1::WorkerInfo::State_Name(worker.state()), worker.device(), absl::StrCat(worker.threads()),
               FormatBytes(worker.memory_bytes()), FormatSeconds(worker.seconds_since_seen()) + " ago", worker.job()});
  }
  console.out << table.Render() << std::flush;
  return kDone;
}

}  // namespace

void AddWorkers(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("workers", "show the workers that a coordinator knows");
  AddServerOption(command, &arguments->server);
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] { *action = [=](const Console& console) { return Workers(*arguments, console); }; });
}

}  // namespace calipress::cli
