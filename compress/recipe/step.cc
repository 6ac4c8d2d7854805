#include <algorithm>

#include "compress/checkpoint/formats/linear_format.h"
#include "compress/recipe/n_of_m.h"
#include "compress/recipe/pattern.h"
#include "compress/recipe/recipe.h"
#include "google/protobuf/descriptor.h"

namespace calipress::recipe {

using checkpoint::QuantizationScheme;

std::vector<std::string> AvailableMethods() {
  return {"rtn", "gptq", "awq", "smoothquant", "spqr", "magnitude", "wanda", "sparsegpt", "dsnot"};
}

bool Transforms(const v1::Step& step) { return step.has_smoothquant() || step.has_awq(); }

bool Prunes(const v1::Step& step) {
  return step.has_magnitude() || step.has_wanda() || step.has_sparsegpt() || step.has_dsnot();
}

std::string PatternOf(const v1::Step& step) {
  if (step.has_magnitude()) return step.magnitude().pattern();
  if (step.has_wanda()) return step.wanda().pattern();
  if (step.has_sparsegpt()) return step.sparsegpt().pattern();
  if (step.has_dsnot()) return step.dsnot().pattern();
  return "";
}

namespace {

template <typename Method>
double ShareOf(const Method& method) {
  if (method.has_sparsity()) return method.sparsity();
  const auto pattern = ParseNOfM(method.pattern());
  return pattern ? pattern->sparsity() : kDefaultSparsity;
}

}  // namespace

double SparsityOf(const v1::Step& step) {
  if (step.has_magnitude()) return ShareOf(step.magnitude());
  if (step.has_wanda()) return ShareOf(step.wanda());
  if (step.has_sparsegpt()) return ShareOf(step.sparsegpt());
  if (step.has_dsnot()) return ShareOf(step.dsnot());
  return 0.0;
}

bool Quantizes(const v1::Step& step) {
  return step.has_rtn() || step.has_gptq() || step.has_awq() || step.has_spqr() ||
         (step.has_sparsegpt() && step.sparsegpt().has_quantize());
}

struct StepTable::Entry {
  std::vector<Pattern> targets;
  std::vector<Pattern> ignore;
  bool transforms, prunes, quantizes;
};

StepTable::StepTable(const v1::Recipe& recipe) {
  for (const v1::Step& step : recipe.steps()) {
    entries_.push_back({CompilePatterns(TargetsOrDefault(step.targets())),
                        CompilePatterns(IgnoreOrDefault(step.ignore())), Transforms(step), Prunes(step),
                        Quantizes(step)});
  }
}

StepTable::~StepTable() = default;

std::vector<int> StepTable::StepsFor(std::string_view module) const {
  std::vector<int> steps;
  int prunes = -1, quantizes = -1;
  for (int i = 0; i < static_cast<int>(entries_.size()); ++i) {
    const Entry& entry = entries_[i];
    if (!MatchesAny(entry.targets, module) || MatchesAny(entry.ignore, module)) continue;
    if (entry.transforms && !entry.quantizes) steps.push_back(i);
    if (entry.prunes) prunes = i;
    if (entry.quantizes) quantizes = i;
  }
  if (prunes >= 0) steps.push_back(prunes);
  if (quantizes >= 0 && quantizes != prunes) steps.push_back(quantizes);
  return steps;
}

std::vector<int> StepsFor(const v1::Recipe& recipe, std::string_view module) {
  return StepTable(recipe).StepsFor(module);
}

namespace {

// The step whose codes a linear is stored in; null where it is stored dense.
const v1::Step* StoringStep(const v1::Recipe& recipe, std::string_view module) {
  if (recipe.output().format() == "dense") return nullptr;
  const std::vector<int> steps = StepsFor(recipe, module);
  if (steps.empty() || !Quantizes(recipe.steps(steps.back()))) return nullptr;
  return &recipe.steps(steps.back());
}

}  // namespace

std::optional<QuantizationScheme> SchemeFor(const v1::Recipe& recipe, std::string_view module) {
  const v1::Step* step = StoringStep(recipe, module);
  if (step == nullptr || step->has_spqr()) return std::nullopt;
  return SchemeOf(*step);
}

std::optional<checkpoint::SpqrScheme> SpqrSchemeFor(const v1::Recipe& recipe, std::string_view module) {
  const v1::Step* step = StoringStep(recipe, module);
  if (step == nullptr || !step->has_spqr()) return std::nullopt;
  return SpqrSchemeOf(step->spqr());
}

std::vector<checkpoint::TensorPlan> LinearTensors(const v1::Recipe& recipe, const arch::LinearSpec& linear, Dtype dtype,
                                                  int64_t outliers) {
  if (const auto spqr = SpqrSchemeFor(recipe, linear.module)) {
    return checkpoint::SpqrLinearPlan(linear.module, linear.out, linear.in, *spqr, dtype, outliers);
  }
  const auto scheme = SchemeFor(recipe, linear.module);
  if (!scheme) return {{linear.module + ".weight", dtype, {linear.out, linear.in}}};
  return checkpoint::FindLinearFormat(recipe.output().format())
      ->Plan(linear.module, linear.out, linear.in, *scheme, dtype);
}

Dtype StoredDtype(const v1::Recipe& recipe, Dtype source) {
  const checkpoint::LinearFormat* format = checkpoint::FindLinearFormat(recipe.output().format());
  return format != nullptr && format->holds_f16() && IsFloating(source) ? Dtype::kF16 : source;
}

bool NeedsStatistics(const v1::Step& step) {
  if (step.has_rtn()) return step.rtn().activations() == v1::ACTIVATIONS_STATIC;
  if (step.has_magnitude()) return step.magnitude().has_owl();
  return step.method_case() != v1::Step::METHOD_NOT_SET;
}

namespace {

template <typename Method>
void ReadGrid(const Method& method, QuantizationScheme* scheme) {
  if (method.has_bits()) scheme->bits = method.bits();
  if (method.has_group_size()) scheme->group_size = method.group_size();
  if (method.has_symmetric()) scheme->symmetric = method.symmetric();
}

template <typename Method>
void ReadScheme(const Method& method, QuantizationScheme* scheme) {
  *scheme = DefaultScheme(method.type(), method.strategy(), method.activations());
  if (method.strategy() == v1::STRATEGY_UNSPECIFIED) scheme->strategy = checkpoint::Strategy::kGroup;
  ReadGrid(method, scheme);
}

}  // namespace

QuantizationScheme DefaultScheme(v1::NumberType type, v1::Strategy strategy, v1::Activations activations) {
  QuantizationScheme scheme;
  if (activations == v1::ACTIVATIONS_DYNAMIC) scheme.activations = checkpoint::Activations::kDynamic;
  if (activations == v1::ACTIVATIONS_STATIC) scheme.activations = checkpoint::Activations::kStatic;
  if (type == v1::NUMBER_TYPE_FLOAT) {
    scheme.type = checkpoint::NumberType::kFloat;
    scheme.bits = 8;
  }
  // Kernels of quantized inputs and of floats have no groups.
  if (type == v1::NUMBER_TYPE_FLOAT || scheme.activations != checkpoint::Activations::kNone) scheme.group_size = -1;
  if (strategy == v1::STRATEGY_CHANNEL) scheme.strategy = checkpoint::Strategy::kChannel;
  if (strategy == v1::STRATEGY_TENSOR) scheme.strategy = checkpoint::Strategy::kTensor;
  if (strategy == v1::STRATEGY_BLOCK) scheme.strategy = checkpoint::Strategy::kBlock;
  if (strategy == v1::STRATEGY_GROUP) scheme.group_size = QuantizationScheme().group_size;
  return scheme.Normalized();
}

QuantizationScheme SchemeOf(const v1::Step& step) {
  QuantizationScheme scheme;
  switch (step.method_case()) {
    case v1::Step::kRtn:
      ReadScheme(step.rtn(), &scheme);
      break;
    case v1::Step::kGptq:
      ReadScheme(step.gptq(), &scheme);
      break;
    case v1::Step::kAwq:
      scheme.symmetric = false;
      ReadGrid(step.awq(), &scheme);
      break;
    case v1::Step::kSpqr: {
      const checkpoint::SpqrScheme spqr = SpqrSchemeOf(step.spqr());
      scheme = {.bits = spqr.bits, .group_size = spqr.group_size, .symmetric = false};
      break;
    }
    case v1::Step::kSparsegpt:
      ReadGrid(step.sparsegpt().quantize(), &scheme);
      break;
    default:
      break;
  }
  return scheme.Normalized();
}

checkpoint::SpqrScheme SpqrSchemeOf(const v1::Spqr& spqr) {
  checkpoint::SpqrScheme scheme;
  if (spqr.has_bits()) scheme.bits = spqr.bits();
  if (spqr.has_scale_bits()) scheme.scale_bits = spqr.scale_bits();
  if (spqr.has_zero_bits()) scheme.zero_bits = spqr.zero_bits();
  if (spqr.has_group_size()) scheme.group_size = spqr.group_size();
  if (spqr.has_scale_group_size()) scheme.scale_group_size = spqr.scale_group_size();
  if (spqr.has_act_order()) scheme.act_order = spqr.act_order();
  return scheme;
}

bool IsTrueSequential(const v1::Step& step) {
  return step.gptq().true_sequential() || step.spqr().true_sequential() || step.wanda().true_sequential() ||
         step.sparsegpt().true_sequential() || step.dsnot().true_sequential();
}

std::string MethodName(const v1::Step& step) {
  const auto* field = v1::Step::descriptor()->FindFieldByNumber(step.method_case());
  return field == nullptr ? "none" : field->name();
}

}  // namespace calipress::recipe
