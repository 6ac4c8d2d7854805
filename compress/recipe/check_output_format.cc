// CheckOutputFormat: what the output's format holds, as far as the message alone shows it.
#include <optional>

#include "absl/strings/str_cat.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/recipe/method_checks.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

// Where the options of the step's grid are.
std::string GridPath(const std::string& step_path, const v1::Step& step) {
  return absl::StrCat(step_path, ".", MethodName(step), step.has_sparsegpt() ? ".quantize" : "");
}

// SpQR's layout holds what SpQR made, one scheme for all linears.
void CheckSpqrFormat(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse) {
  const std::string& format = recipe.output().format();
  const v1::Spqr* spqr = nullptr;
  bool others = false, differ = false;
  for (const v1::Step& step : recipe.steps()) {
    if (!Quantizes(step)) continue;
    others = others || !step.has_spqr();
    if (!step.has_spqr()) continue;
    if (spqr != nullptr) differ = differ || !(SpqrSchemeOf(*spqr) == SpqrSchemeOf(step.spqr()));
    spqr = &step.spqr();
  }
  if (spqr == nullptr && format != "spqr") return;
  if (others || (spqr == nullptr && recipe.steps_size() > 0)) {
    return refuse(path,
                  "spqr holds linears that spqr quantized, and nothing else does; give dense, or one of the two "
                  "kinds of steps alone");
  }
  if (!format.empty() && format != "spqr") {
    return refuse(path, absl::StrCat(format, " cannot hold what spqr makes; give spqr or dense"));
  }
  if (differ) refuse(path, "spqr has one scheme for all linears, and the steps have several; give dense");
}

}  // namespace

void CheckOutputFormat(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse) {
  const std::string field = absl::StrCat(path, ".output.format");
  const std::string& name = recipe.output().format();
  if (name == "dense") return;
  const checkpoint::LinearFormat* format = checkpoint::FindLinearFormat(name);
  if (format == nullptr && name != "spqr") {
    return refuse(field, "must be compressed-tensors, gptq, awq, spqr or dense");
  }
  CheckSpqrFormat(recipe, field, refuse);
  if (format == nullptr) return;
  bool quantizes = false;
  for (int i = 0; i < recipe.steps_size(); ++i) {
    const v1::Step& step = recipe.steps(i);
    if (!Quantizes(step)) continue;
    quantizes = true;
    if (step.has_spqr()) continue;
    const std::string grid = GridPath(absl::StrCat(path, ".steps[", i, "]"), step);
    for (const checkpoint::Misfit& misfit : format->SchemeMisfits(SchemeOf(step))) {
      refuse(absl::StrCat(grid, ".", misfit.option), misfit.why);
    }
  }
  if (format->holds_f16() && !quantizes && recipe.steps_size() > 0) {
    refuse(field,
           absl::StrCat(name, " holds quantized linears, and no step quantizes; give compressed-tensors or dense"));
  }
}

}  // namespace calipress::recipe
