#pragma once

#include <functional>

#include "client/cli/console.h"

namespace CLI {
class App;
}

namespace calipress::cli {

// What the command line asked for; gives the exit code.
using Action = std::function<int(const Console& console)>;

// One file for each: adds the verb with its options to `program`; when the verb is parsed, sets *action.
void AddRun(CLI::App* program, Action* action);
void AddSubmit(CLI::App* program, Action* action);
void AddGet(CLI::App* program, Action* action);
void AddList(CLI::App* program, Action* action);
void AddWatch(CLI::App* program, Action* action);
void AddCancel(CLI::App* program, Action* action);
void AddDelete(CLI::App* program, Action* action);
void AddReport(CLI::App* program, Action* action);
void AddWorkers(CLI::App* program, Action* action);
void AddEval(CLI::App* program, Action* action);
void AddInspect(CLI::App* program, Action* action);
void AddConvert(CLI::App* program, Action* action);
void AddRecipes(CLI::App* program, Action* action);
void AddCompletion(CLI::App* program, Action* action);

}  // namespace calipress::cli
