#include <CLI/CLI.hpp>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/exit_code.h"
#include "client/cli/interrupt.h"
#include "client/cli/output/error_text.h"
#include "client/cli/output/table.h"
#include "client/cli/server_option.h"
#include "client/cli/uri_argument.h"
#include "client/cli/verbs/verbs.h"
#include "compress/base/units.h"
#include "compress/checkpoint/inspect/inspect.h"
#include "nlohmann/json.hpp"

namespace calipress::cli {
namespace {

using checkpoint::Inspection;
using checkpoint::LinearInspection;
using checkpoint::ZeroCount;

constexpr char kFooter[] =
    "examples:\n"
    "  calipress inspect ./out\n"
    "  calipress inspect s3://models/a-w4 --headers      # reads no weights: no zeros are counted\n"
    "  calipress inspect ./out --json | jq '.linears[] | select(.zeros < 0.5)'\n\n"
    "Bits per weight count everything that holds a linear: codes, scales, zero points, shapes. Zeros are those of the\n"
    "weights as loaders make them; N:M says that every run of M columns has at least N zeros (M is 4 or 8).";

struct Arguments {
  std::string model;
  bool headers = false;
  bool json = false;
};

double Share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

double BitsPerWeight(const Inspection& inspection) {
  return 8 * Share(inspection.linear_bytes, inspection.linear_weights);
}

std::string PatternText(const ZeroCount& zeros) {
  return zeros.of == 0 ? "" : absl::StrCat(zeros.run_zeros, ":", zeros.of);
}

std::string InspectionJson(const Inspection& inspection) {
  nlohmann::ordered_json linears = nlohmann::ordered_json::array();
  for (const LinearInspection& linear : inspection.linears) {
    auto& entry = linears.emplace_back(nlohmann::ordered_json{{"name", linear.module},
                                                              {"out", linear.out},
                                                              {"in", linear.in},
                                                              {"scheme", linear.scheme},
                                                              {"quantized", linear.quantized},
                                                              {"bytes", linear.bytes},
                                                              {"bits_per_weight", linear.BitsPerWeight()}});
    if (!linear.zeros) continue;
    entry["zeros"] = Share(linear.zeros->zeros, linear.out * linear.in);
    entry["pattern"] = PatternText(*linear.zeros);
  }
  nlohmann::ordered_json all = {{"family", inspection.spec.family},
                                {"model_type", inspection.spec.model_type},
                                {"dtype", std::string(DtypeName(inspection.spec.dtype))},
                                {"format", inspection.format},
                                {"blocks", inspection.spec.blocks},
                                {"parameters", inspection.parameters},
                                {"bytes", inspection.bytes},
                                {"linear_weights", inspection.linear_weights},
                                {"linear_bytes", inspection.linear_bytes},
                                {"bits_per_weight", BitsPerWeight(inspection)}};
  if (inspection.linear_zeros) all["zeros"] = Share(*inspection.linear_zeros, inspection.linear_weights);
  all["linears"] = std::move(linears);
  return all.dump() + "\n";
}

std::string InspectionText(const Inspection& inspection) {
  using Align = Table::Align;
  const bool zeros = inspection.linear_zeros.has_value();
  std::vector<Table::Column> columns = {{"linear"}, {"shape"}, {"scheme"}, {"bits/weight", Align::kRight}};
  if (zeros) columns.push_back({"zeros", Align::kRight});
  if (zeros) columns.push_back({"N:M"});
  Table table(columns);
  for (const LinearInspection& linear : inspection.linears) {
    std::vector<std::string> row = {linear.module, absl::StrCat(linear.out, " x ", linear.in), linear.scheme,
                                    absl::StrFormat("%.3f", linear.BitsPerWeight())};
    if (linear.zeros) {
      row.push_back(FormatPercent(Share(linear.zeros->zeros, linear.out * linear.in)));
      row.push_back(PatternText(*linear.zeros));
    }
    table.Add(std::move(row));
  }
  std::vector<std::string> total = {"all linears", "", "", absl::StrFormat("%.3f", BitsPerWeight(inspection))};
  if (zeros) total.push_back(FormatPercent(Share(*inspection.linear_zeros, inspection.linear_weights)));
  table.Add(std::move(total));
  return absl::StrCat("model   ", inspection.spec.model_type, ", ", inspection.spec.blocks, " blocks, ",
                      inspection.parameters, " parameters\n", "dtype   ", std::string(DtypeName(inspection.spec.dtype)),
                      "\n", "format  ", inspection.format, "\n", "size    ", FormatBytes(inspection.bytes),
                      ", of which ", FormatBytes(inspection.linear_bytes), " linears\n\n", table.Render());
}

int RunInspect(const Arguments& arguments, const Console& console) {
  const Interrupt interrupt;
  const auto store = storage::OpenObjectStore();
  const auto inspection =
      checkpoint::Inspect(*store, UriArgument(arguments.model), !arguments.headers, interrupt.first());
  if (!inspection.ok()) {
    if (interrupt.first().cancelled()) return kInterrupted;
    console.err << ErrorText(inspection.status());
    return ExitCodeOf(inspection.status());
  }
  console.out << (arguments.json ? InspectionJson(*inspection) : InspectionText(*inspection)) << std::flush;
  return kDone;
}

}  // namespace

void AddInspect(CLI::App* program, Action* action) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program->add_subcommand("inspect", "show what a checkpoint is: formats, bits, zeros");
  command->add_option("MODEL", arguments->model, "Hugging Face model folder, compressed or not")->required();
  command->add_flag("--headers", arguments->headers, "read headers alone, and count no zeros");
  AddJsonOption(command, &arguments->json);
  command->footer(kFooter);
  command->callback([=] { *action = [=](const Console& console) { return RunInspect(*arguments, console); }; });
}

}  // namespace calipress::cli
