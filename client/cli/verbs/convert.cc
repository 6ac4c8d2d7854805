#include <CLI/CLI.hpp>

#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/interrupt.h"
#include "client/cli/output/error_text.h"
#include "client/cli/server_option.h"
#include "client/cli/uri_argument.h"
#include "client/cli/verbs/verbs.h"
#include "compress/base/units.h"
#include "compress/checkpoint/convert/convert.h"
#include "nlohmann/json.hpp"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  calipress convert ./out ./out-gptq --format gptq\n"
    "  calipress convert s3://models/a-w4 ./a-dense --format dense    # for programs that read no codes\n\n"
    "Codes stay as they are: nothing is quantized again. gptq holds symmetric 4 and 8 bits, awq 4 bits in groups; "
    "both\n"
    "hold F16, and scales that have no equal in F16 are refused. What does not fit is said before anything is written.";

struct Arguments {
  std::string source;
  std::string output;
  std::string format;
  bool json = false;
};

int RunConvert(const Arguments& arguments, const Console& console) {
  const Interrupt interrupt;
  const auto store = storage::OpenObjectStore();
  const std::string output = UriArgument(arguments.output);
  const auto conversion =
      checkpoint::Convert(*store, UriArgument(arguments.source), output, arguments.format, interrupt.first());
  if (!conversion.ok()) {
    if (interrupt.first().cancelled()) return kInterrupted;
    console.err << ErrorText(conversion.status());
    return ExitCodeOf(conversion.status());
  }
  if (arguments.json) {
    const nlohmann::ordered_json line = {
        {"output", storage::RedactUri(output)}, {"from", conversion->from},   {"format", conversion->to},
        {"bytes", conversion->bytes},           {"files", conversion->files}, {"warnings", conversion->warnings}};
    console.out << line.dump() << std::endl;
    return kDone;
  }
  for (const std::string& warning : conversion->warnings) console.err << "warning: " << warning << "\n";
  console.out << storage::RedactUri(output) << ": " << conversion->from << " -> " << conversion->to << ", "
              << FormatBytes(conversion->bytes) << " in " << conversion->files.size()
              << (conversion->files.size() == 1 ? " file" : " files") << std::endl;
  return kDone;
}

}  // namespace

void AddConvert(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("convert", "move a compressed checkpoint into another format");
  command->add_option("MODEL", arguments->source, "the checkpoint's folder")->required();
  command->add_option("OUTPUT", arguments->output, "a folder without a model")->required();
  command->add_option("--format", arguments->format, "compressed-tensors, gptq, awq or dense")
      ->required()
      ->check(CLI::IsMember({"compressed-tensors", "gptq", "awq", "dense"}));
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] { *action = [=](const Console& console) { return RunConvert(*arguments, console); }; });
}

}  // namespace calipress::cli
