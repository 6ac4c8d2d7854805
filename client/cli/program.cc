#include "client/cli/program.h"

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs/verbs.h"
#include "compress/base/log.h"
#include "compress/base/version.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  calipress run ./model ./out --recipe gptq-w4a16 --calibration train.jsonl --workers 2\n"
    "  calipress eval ./out --text test.jsonl --reference ./model\n"
    "  calipress submit s3://models/a s3://models/a-w4 --recipe recipe.yaml --server host:7070 --wait\n\n"
    "exit codes: 0 done, 1 the job failed, 2 the request was refused, 3 the server could not be reached";

}  // namespace

int RunProgram(const std::vector<std::string>& arguments, const Console& console) {
  CLI::App program("Compresses language models after training.", "calipress");
  program.footer(kFooter);
  program.require_subcommand(1);
  program.set_version_flag("--version",
                           absl::StrCat("calipress ", std::string(kVersion), " (", std::string(BuildRevision()), ")"));
  Action action;
  for (const auto add : {AddRun, AddSubmit, AddGet, AddList, AddWatch, AddCancel, AddDelete, AddReport, AddWorkers,
                         AddEval, AddInspect, AddConvert, AddRecipes, AddCompletion}) {
    add(&program, &action);
  }
  // Progress is on the terminal; a library's information is not for there.
  StartLogging("calipress", "warning");
  try {
    // CLI11 takes them from the back.
    program.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error, console.out, console.err);  // --help, --version
    const auto verbs = program.get_subcommands();
    const std::string verb = verbs.empty() ? "" : " " + verbs.front()->get_name();
    console.err << "error: " << error.what() << "\n  do: calipress" << verb << " --help\n";
    return kRefused;
  }
  return action(console);
}

}  // namespace calipress::cli
