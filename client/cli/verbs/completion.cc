#include <CLI/CLI.hpp>

#include <memory>

#include "client/cli/completion_script.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs/verbs.h"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  source <(calipress completion bash)\n"
    "  calipress completion zsh > \"${fpath[1]}/_calipress\"\n"
    "  calipress completion fish > ~/.config/fish/completions/calipress.fish";

// Read from the parser itself, so that no verb or option is forgotten.
std::vector<VerbWords> Words(const CLI::App& program) {
  std::vector<VerbWords> words;
  for (const CLI::App* verb : program.get_subcommands([](const CLI::App*) { return true; })) {
    VerbWords entry{verb->get_name(), verb->get_description(), {}};
    for (const CLI::Option* option : verb->get_options()) {
      for (const std::string& name : option->get_lnames()) entry.options.push_back("--" + name);
    }
    words.push_back(std::move(entry));
  }
  return words;
}

}  // namespace

void AddCompletion(CLI::App* program, Action* action) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = program->add_subcommand("completion", "print a script that completes this program in a shell");
  command->add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer(kFooter);
  command->callback([=] {
    *action = [=](const Console& console) {
      const std::vector<VerbWords> words = Words(*program);
      console.out << (*shell == "bash"  ? BashCompletion(words)
                      : *shell == "zsh" ? ZshCompletion(words)
                                        : FishCompletion(words))
                  << std::flush;
      return kDone;
    };
  });
}

}  // namespace calipress::cli
