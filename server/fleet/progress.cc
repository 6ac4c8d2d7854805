#include "server/fleet/progress.h"

#include <algorithm>
#include <cmath>

#include "compress/recipe/study.h"

namespace calipress::fleet {
namespace {

struct Phase {
  std::string_view name;
  double weight;
};

bool HasLayerRatios(const v1::Recipe& recipe) {
  return std::any_of(recipe.steps().begin(), recipe.steps().end(), [](const v1::Step& step) {
    return step.magnitude().has_owl() || step.wanda().has_owl() || step.sparsegpt().has_owl();
  });
}

std::vector<Phase> PhasesOf(const v1::CompressionJob& job) {
  std::vector<Phase> phases;
  const v1::Recipe& recipe = job.recipe();
  if (recipe.has_study()) {
    phases.push_back({kStudyPhase, 100});
    if (recipe::MostKept(recipe.study()) > 0) phases.push_back({kKeepPhase, 50});
  }
  if (recipe.calibration().sources_size() > 0) phases.push_back({kTokensPhase, 2});
  if (HasLayerRatios(recipe)) phases.push_back({kRatiosPhase, 30});
  if (recipe.steps_size() > 0) phases.push_back({kCompressPhase, 80});
  const v1::Evaluation& evaluation = recipe.evaluation();
  if (!recipe.has_study() &&
      evaluation.perplexity_size() + evaluation.multiple_choice_size() + evaluation.last_word_size() > 0) {
    phases.push_back({kEvaluatePhase, 12});
  }
  if (!recipe.has_study() && !job.output().empty()) phases.push_back({kAssemblePhase, 5});
  if (!job.output().empty()) phases.push_back({kPublishPhase, 1});
  return phases;
}

bool Ended(const worker::v1::StageState& stage, std::string_view phase) {
  if (stage.has_outcome() && stage.outcome().status().code() == 0) return phase != kPublishPhase;
  return std::any_of(stage.phases().begin(), stage.phases().end(),
                     [&](const v1::PhaseReport& report) { return report.name() == phase; });
}

double FractionOf(const worker::v1::StageState& stage, std::string_view phase) {
  if (Ended(stage, phase)) return 1;
  if (stage.phase() != phase || !std::isfinite(stage.fraction())) return 0;
  return std::clamp(stage.fraction(), 0.0, 1.0);
}

}  // namespace

v1::Progress CombineProgress(const v1::CompressionJob& job, const std::vector<RankProgress>& ranks, int blocks_done) {
  v1::Progress progress;
  const int blocks_total = std::max(job.estimate().blocks(), 1);
  progress.set_blocks_done(blocks_done);
  progress.set_blocks_total(blocks_total);
  double whole = 0;
  double done = 0;
  std::string_view current;
  for (const Phase& phase : PhasesOf(job)) {
    double fraction = 0;
    double shares = 0;
    bool somebody_there = false;
    for (const RankProgress& rank : ranks) {
      fraction += rank.blocks * FractionOf(*rank.stage, phase.name);
      shares += rank.blocks;
      somebody_there = somebody_there || (rank.stage->phase() == phase.name && !Ended(*rank.stage, phase.name));
    }
    fraction = shares > 0 ? fraction / shares : 0;
    if (phase.name == kCompressPhase) fraction = std::max(fraction, static_cast<double>(blocks_done) / blocks_total);
    whole += phase.weight;
    done += phase.weight * std::min(fraction, 1.0);
    if (current.empty() && somebody_there) current = phase.name;
  }
  progress.set_fraction(whole > 0 ? done / whole : 0);
  progress.set_phase(std::string(current));
  return progress;
}

bool PastPreparation(const std::vector<RankProgress>& ranks) {
  return std::any_of(ranks.begin(), ranks.end(), [](const RankProgress& rank) {
    return (!rank.stage->phase().empty() && rank.stage->phase() != kTokensPhase) || rank.stage->has_outcome();
  });
}

}  // namespace calipress::fleet
