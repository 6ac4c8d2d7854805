#include <CLI/CLI.hpp>

#include <memory>

#include "client/cli/exit_code.h"
#include "client/cli/output/table.h"
#include "client/cli/server_option.h"
#include "client/cli/verbs/verbs.h"
#include "compress/recipe/recipe.h"
#include "nlohmann/json.hpp"

namespace calipress::cli {
namespace {

constexpr char kFooter[] =
    "examples:\n"
    "  calipress recipes\n"
    "  calipress recipes gptq-w4a16 > recipe.yaml    # a start for one of your own";

struct Arguments {
  std::string name;
  bool json = false;
};

int Recipes(const Arguments& arguments, const Console& console) {
  const std::vector<recipe::Preset>& presets = recipe::Presets();
  if (!arguments.name.empty()) {
    for (const recipe::Preset& preset : presets) {
      if (preset.name != arguments.name) continue;
      console.out << preset.yaml << std::flush;
      return kDone;
    }
    console.err << "error: no preset is called " << arguments.name << "\n  do: calipress recipes" << std::endl;
    return kRefused;
  }
  if (arguments.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const recipe::Preset& preset : presets) list.push_back({{"name", preset.name}, {"summary", preset.summary}});
    console.out << list.dump() << std::endl;
    return kDone;
  }
  Table table({{"preset"}, {"what it does"}});
  for (const recipe::Preset& preset : presets) table.Add({preset.name, preset.summary});
  console.out << table.Render() << std::flush;
  return kDone;
}

}  // namespace

void AddRecipes(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("recipes", "show the presets, or the text of one");
  command->add_option("NAME", arguments->name, "print this preset's YAML");
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] { *action = [=](const Console& console) { return Recipes(*arguments, console); }; });
}

}  // namespace calipress::cli
