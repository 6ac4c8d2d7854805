#include <algorithm>

#include "compress/checkpoint/shard_plan.h"
#include "compress/recipe/n_of_m.h"
#include "compress/recipe/owl.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/pattern.h"
#include "compress/recipe/recipe.h"
#include "compress/recipe/resolve_parts.h"
#include "compress/recipe/study.h"

namespace calipress::recipe {
namespace {

constexpr int32_t kDefaultLength = 2048;
// Enough for matrix products to run at full speed, and few enough for a pipeline of stages to fill soon.
constexpr int64_t kMicroBatchTokens = 1024;
constexpr double kDefaultOutlierThreshold = 5.0;

// A default is written only where nothing is: what the user gave stays, even where it equals the default.
#define CALIPRESS_DEFAULT(message, field, value) \
  if (!(message)->has_##field()) (message)->set_##field(value)

// Integers in groups or channels.
template <typename Method>
void ResolveIntegers(Method* method) {
  const checkpoint::QuantizationScheme scheme;
  CALIPRESS_DEFAULT(method, bits, scheme.bits);
  CALIPRESS_DEFAULT(method, group_size, static_cast<int32_t>(scheme.group_size));
  CALIPRESS_DEFAULT(method, symmetric, scheme.symmetric);
}

template <typename Method>
void ResolveObserver(Method* method) {
  if (method->observer() == v1::OBSERVER_UNSPECIFIED) method->set_observer(v1::OBSERVER_MINMAX);
}

void ResolveScheme(v1::SweepQuantization* quantize) {
  ResolveIntegers(quantize);
  ResolveObserver(quantize);
}

template <typename Method>
void ResolveScheme(Method* method) {
  if (method->type() == v1::NUMBER_TYPE_UNSPECIFIED) method->set_type(v1::NUMBER_TYPE_INT);
  if (method->activations() == v1::ACTIVATIONS_UNSPECIFIED) method->set_activations(v1::ACTIVATIONS_NONE);
  ResolveObserver(method);
  const auto scheme = DefaultScheme(method->type(), method->strategy(), method->activations());
  CALIPRESS_DEFAULT(method, bits, scheme.bits);
  CALIPRESS_DEFAULT(method, group_size, static_cast<int32_t>(scheme.group_size));
  CALIPRESS_DEFAULT(method, symmetric, scheme.symmetric);
  if (method->strategy() == v1::STRATEGY_UNSPECIFIED) {
    method->set_strategy(method->group_size() < 0 ? v1::STRATEGY_CHANNEL : v1::STRATEGY_GROUP);
  }
}

template <typename Method>
void ResolveSparsity(Method* method) {
  const auto pattern = ParseNOfM(method->pattern());
  CALIPRESS_DEFAULT(method, sparsity, pattern ? pattern->sparsity() : kDefaultSparsity);
}

template <typename Method>
void ResolveOwl(Method* method) {
  if (!method->has_owl()) return;
  CALIPRESS_DEFAULT(method->mutable_owl(), lambda, DefaultLambda(ParseNOfM(method->pattern())));
  CALIPRESS_DEFAULT(method->mutable_owl(), outlier_threshold, kDefaultOutlierThreshold);
}

void ResolveStep(bool sequential, v1::Step* step) {
  *step->mutable_targets() = PatternTexts(TargetsOrDefault(step->targets()));
  *step->mutable_ignore() = PatternTexts(IgnoreOrDefault(step->ignore()));
  switch (step->method_case()) {
    case v1::Step::kRtn:
      ResolveScheme(step->mutable_rtn());
      break;
    case v1::Step::kGptq: {
      v1::Gptq* gptq = step->mutable_gptq();
      ResolveScheme(gptq);
      CALIPRESS_DEFAULT(gptq, act_order, true);
      CALIPRESS_DEFAULT(gptq, damping, 0.01);
      CALIPRESS_DEFAULT(gptq, true_sequential, sequential);
      CALIPRESS_DEFAULT(gptq, block_size, 128);
      if (gptq->on_numeric_failure() == v1::ON_NUMERIC_FAILURE_UNSPECIFIED) {
        gptq->set_on_numeric_failure(v1::ON_NUMERIC_FAILURE_FALLBACK);
      }
      break;
    }
    case v1::Step::kSpqr: {
      v1::Spqr* spqr = step->mutable_spqr();
      const checkpoint::SpqrScheme scheme;
      CALIPRESS_DEFAULT(spqr, bits, scheme.bits);
      CALIPRESS_DEFAULT(spqr, group_size, static_cast<int32_t>(scheme.group_size));
      CALIPRESS_DEFAULT(spqr, scale_bits, scheme.scale_bits);
      CALIPRESS_DEFAULT(spqr, zero_bits, scheme.zero_bits);
      CALIPRESS_DEFAULT(spqr, scale_group_size, static_cast<int32_t>(scheme.scale_group_size));
      CALIPRESS_DEFAULT(spqr, outlier_threshold, 0.2);
      CALIPRESS_DEFAULT(spqr, act_order, scheme.act_order);
      CALIPRESS_DEFAULT(spqr, damping, 1.0);
      CALIPRESS_DEFAULT(spqr, true_sequential, sequential);
      ResolveObserver(spqr);
      if (spqr->on_numeric_failure() == v1::ON_NUMERIC_FAILURE_UNSPECIFIED) {
        spqr->set_on_numeric_failure(v1::ON_NUMERIC_FAILURE_FALLBACK);
      }
      break;
    }
    case v1::Step::kMagnitude:
      ResolveSparsity(step->mutable_magnitude());
      ResolveOwl(step->mutable_magnitude());
      break;
    case v1::Step::kWanda:
      ResolveSparsity(step->mutable_wanda());
      ResolveOwl(step->mutable_wanda());
      // As the reference: in turn, what is pruned without correction comes out worse (ADR 11). So with DSnoT.
      CALIPRESS_DEFAULT(step->mutable_wanda(), true_sequential, false);
      break;
    case v1::Step::kSparsegpt: {
      v1::SparseGpt* sparsegpt = step->mutable_sparsegpt();
      ResolveSparsity(sparsegpt);
      ResolveOwl(sparsegpt);
      CALIPRESS_DEFAULT(sparsegpt, damping, 0.01);
      CALIPRESS_DEFAULT(sparsegpt, block_size, 128);
      CALIPRESS_DEFAULT(sparsegpt, true_sequential, sequential);
      if (sparsegpt->on_numeric_failure() == v1::ON_NUMERIC_FAILURE_UNSPECIFIED) {
        sparsegpt->set_on_numeric_failure(v1::ON_NUMERIC_FAILURE_FALLBACK);
      }
      if (sparsegpt->has_quantize()) ResolveScheme(sparsegpt->mutable_quantize());
      break;
    }
    case v1::Step::kDsnot: {
      v1::Dsnot* dsnot = step->mutable_dsnot();
      ResolveSparsity(dsnot);
      if (dsnot->initial() == v1::Dsnot::INITIAL_UNSPECIFIED) dsnot->set_initial(v1::Dsnot::INITIAL_WANDA);
      CALIPRESS_DEFAULT(dsnot, max_cycles, 50);
      CALIPRESS_DEFAULT(dsnot, threshold, 0.1);
      CALIPRESS_DEFAULT(dsnot, gamma, 1.0);
      CALIPRESS_DEFAULT(dsnot, true_sequential, false);
      if (dsnot->layers() == v1::Dsnot::LAYERS_UNSPECIFIED) dsnot->set_layers(v1::Dsnot::LAYERS_ATTENTION);
      break;
    }
    case v1::Step::kAwq: {
      v1::Awq* awq = step->mutable_awq();
      CALIPRESS_DEFAULT(awq, symmetric, false);
      ResolveIntegers(awq);
      if (awq->search() == v1::AWQ_SEARCH_UNSPECIFIED) awq->set_search(v1::AWQ_SEARCH_DUO);
      CALIPRESS_DEFAULT(awq, grid, 20);
      CALIPRESS_DEFAULT(awq, clip, true);
      ResolveObserver(awq);
      break;
    }
    case v1::Step::kSmoothquant:
      CALIPRESS_DEFAULT(step->mutable_smoothquant(), alpha, 0.5);
      break;
    case v1::Step::METHOD_NOT_SET:
      break;
  }
}

#undef CALIPRESS_DEFAULT

}  // namespace

int32_t DefaultMicroBatch(int64_t sequence_length) {
  return static_cast<int32_t>(std::max<int64_t>(1, kMicroBatchTokens / std::max<int64_t>(1, sequence_length)));
}

namespace {

// Every method and every source as a recipe of its own has them.
void ResolveStudy(const arch::ArchSpec& spec, v1::Recipe* recipe) {
  v1::Study* study = recipe->mutable_study();
  if (!study->has_draws()) study->set_draws(kDefaultDraws);
  if (!study->has_repeat()) study->set_repeat(true);
  if (study->keep().empty()) study->add_keep(kKeepNone);
  recipe->mutable_calibration();
  v1::Recipe run = *recipe;
  run.clear_study();
  for (v1::StudyMethod& method : *study->mutable_methods()) {
    *run.mutable_steps() = method.steps();
    *method.mutable_steps() = Resolve(run, spec).steps();
  }
  for (v1::StudySource& source : *study->mutable_sources()) {
    *run.mutable_calibration()->mutable_sources() = source.sources();
    *source.mutable_sources() = Resolve(run, spec).calibration().sources();
  }
}

// What all runs share: as of one set of all sources, so that files of ids decide where there is nothing else.
void ResolveStudyCalibration(int32_t default_length, v1::Recipe* recipe) {
  v1::Calibration* calibration = recipe->mutable_calibration();
  for (const v1::StudySource& source : recipe->study().sources())
    calibration->mutable_sources()->MergeFrom(source.sources());
  ResolveCalibration(default_length, calibration);
  calibration->clear_sources();
}

}  // namespace

std::string DefaultFormat(const v1::Recipe& recipe) {
  const bool spqr =
      std::any_of(recipe.steps().begin(), recipe.steps().end(), [](const v1::Step& step) { return step.has_spqr(); });
  return spqr ? "spqr" : "compressed-tensors";
}

v1::Recipe Resolve(const v1::Recipe& recipe, const arch::ArchSpec& spec) {
  v1::Recipe resolved = recipe;
  const int32_t default_length = static_cast<int32_t>(std::min<int64_t>(kDefaultLength, spec.max_positions));
  if (resolved.propagation() == v1::PROPAGATION_UNSPECIFIED) resolved.set_propagation(v1::PROPAGATION_COMPRESSED);
  // With the original activations no linear sees compressed predecessors, and a step that transforms takes all
  // statistics of a block before it changes it: no order to keep.
  const bool sequential = resolved.propagation() != v1::PROPAGATION_ORIGINAL &&
                          std::none_of(resolved.steps().begin(), resolved.steps().end(), Transforms);
  for (v1::Step& step : *resolved.mutable_steps()) ResolveStep(sequential, &step);
  if (resolved.has_study()) ResolveStudy(spec, &resolved);
  if (resolved.has_study()) {
    ResolveStudyCalibration(default_length, &resolved);
  } else if (resolved.has_calibration()) {
    ResolveCalibration(default_length, resolved.mutable_calibration());
  }
  if (resolved.steps_size() > 0 || resolved.has_output() || resolved.has_study()) {
    v1::Output* output = resolved.mutable_output();
    // The runs of a study have formats of their own.
    if (output->format().empty() && !resolved.has_study()) output->set_format(DefaultFormat(resolved));
    if (!output->has_max_shard_bytes()) output->set_max_shard_bytes(checkpoint::kDefaultShardBytes);
  }
  if (resolved.has_evaluation()) ResolveEvaluation(default_length, resolved.mutable_evaluation());
  return resolved;
}

}  // namespace calipress::recipe
