#include <CLI/CLI.hpp>

#include <memory>

#include "client/cli/exit_code.h"
#include "client/cli/output/error_text.h"
#include "client/cli/output/json.h"
#include "client/cli/output/summary.h"
#include "client/cli/page_file.h"
#include "client/cli/server_option.h"
#include "client/cli/uri_argument.h"
#include "client/cli/verbs/verbs.h"
#include "compress/report/page.h"
#include "compress/report/recipe_text.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  calipress report quick-job --server host:7070\n"
    "  calipress report quick-job --html report.html --server host:7070\n"
    "  calipress report quick-job --open --server host:7070\n"
    "  calipress report quick-job --recipe --server host:7070 > recipe.yaml\n\n"
    "The page is the one that lies beside the checkpoint as report.html: it needs nothing but itself.";

struct Arguments {
  std::string job;
  std::string server;
  std::string html;
  bool open = false;
  bool recipe = false;
  bool json = false;
};

// The page to --html, and onto the desktop.
int ShowPage(const Arguments& arguments, const v1::CompressionJob& job, const Console& console) {
  std::string path = arguments.html;
  if (!path.empty()) {
    const int saved = SavePage(job, path, console);
    if (saved != kDone || !arguments.open) return saved;
  } else {
    auto temporary = WriteTemporaryPage(report::ReportPage(job, job.report()));
    if (!temporary.ok()) {
      console.err << ErrorText(temporary.status());
      return ExitCodeOf(temporary.status());
    }
    path = *std::move(temporary);
    console.out << "written   " << path << std::endl;
  }
  const absl::Status opened = OpenOnDesktop(path);
  if (opened.ok()) return kDone;
  console.err << "error: " << opened.message() << "; open " << path << " in a browser" << std::endl;
  return kRefused;
}

int Report(const Arguments& arguments, const Console& console) {
  const auto job = client::CompressionClient::Connect(arguments.server)->Get(JobName(arguments.job));
  if (!job.ok()) {
    console.err << ErrorText(job.status());
    return ExitCodeOf(job.status());
  }
  if (arguments.recipe) {
    console.out << report::RecipeText(job->recipe()) << std::flush;
    return kDone;
  }
  if (!job->has_report()) {
    console.err << "error: " << job->name() << " has no report; it is " << StateName(job->state()) << std::endl;
    return client::HasEnded(job->state()) ? kJobFailed : kRefused;
  }
  if (arguments.open || !arguments.html.empty()) return ShowPage(arguments, *job, console);
  console.out << (arguments.json ? JsonLine(job->report()) + "\n" : FullReportText(job->report())) << std::flush;
  return kDone;
}

}  // namespace

void AddReport(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("report", "show what a finished job did, as tables or as a page");
  AddJobOption(command, &arguments->job);
  AddServerOption(command, &arguments->server);
  command->add_option("--html", arguments->html, "write it as a page; -: to standard output")->type_name("FILE");
  command->add_flag("--open", arguments->open, "open the page with the desktop's browser (xdg-open)");
  command->add_flag("--recipe", arguments->recipe, "the job's recipe instead, as YAML with every default and seed");
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] {
    const bool page = arguments->open || !arguments->html.empty();
    if (page && arguments->json) throw CLI::ExcludesError("--json", "--html and --open");
    if (arguments->recipe && (page || arguments->json))
      throw CLI::ExcludesError("--recipe", "--json, --html and --open");
    if (arguments->open && arguments->html == "-") throw CLI::ExcludesError("--open", "--html -");
    *action = [=](const Console& console) { return Report(*arguments, console); };
  });
}

}  // namespace calipress::cli
