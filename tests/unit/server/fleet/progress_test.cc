#include "server/fleet/progress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace calipress::fleet {
namespace {

v1::CompressionJob WholeJob() {
  v1::CompressionJob job;
  job.mutable_recipe()->mutable_calibration()->add_sources();
  job.mutable_recipe()->add_steps();
  job.mutable_recipe()->mutable_evaluation()->add_perplexity();
  job.set_output("/out");
  job.mutable_estimate()->set_blocks(4);
  return job;
}

worker::v1::StageState Stage(const std::string& phase, double fraction, std::vector<std::string> ended = {}) {
  worker::v1::StageState stage;
  stage.set_phase(phase);
  stage.set_fraction(fraction);
  for (const std::string& name : ended) stage.add_phases()->set_name(name);
  return stage;
}

TEST(Progress, WeighsPhasesAndRanks) {
  const auto tokens = Stage("calibration-tokens", 1, {"calibration-tokens"});
  const auto compress = Stage("compress", 0.5, {"calibration-tokens"});
  v1::Progress progress = CombineProgress(WholeJob(), {{&tokens, 1}, {&compress, 3}}, 0);
  EXPECT_NEAR(progress.fraction(), 0.02 + 0.8 * 0.5 * 0.75, 1e-9);
  EXPECT_EQ(progress.phase(), "compress");
  EXPECT_EQ(progress.blocks_total(), 4);
  // A finished block counts whoever finished it.
  progress = CombineProgress(WholeJob(), {{&tokens, 1}, {&compress, 3}}, 3);
  EXPECT_NEAR(progress.fraction(), 0.02 + 0.8 * 0.75, 1e-9);
}

TEST(Progress, TheSlowestRanksPhaseIsTheJobs) {
  const auto compress = Stage("compress", 0.5);
  const auto evaluate = Stage("evaluate", 0.1, {"compress"});
  EXPECT_EQ(CombineProgress(WholeJob(), {{&evaluate, 1}, {&compress, 1}}, 0).phase(), "compress");
  EXPECT_EQ(CombineProgress(WholeJob(), {{&evaluate, 1}, {&evaluate, 1}}, 0).phase(), "evaluate");
}

TEST(Progress, PhasesThatAJobDoesNotHaveDropOut) {
  v1::CompressionJob job;
  job.mutable_recipe()->mutable_evaluation()->add_perplexity();
  const auto evaluate = Stage("evaluate", 0.5);
  EXPECT_NEAR(CombineProgress(job, {{&evaluate, 1}}, 0).fraction(), 0.5, 1e-9);
}

TEST(Progress, TasksAloneAreAnEvaluation) {
  v1::CompressionJob job;
  job.mutable_recipe()->mutable_evaluation()->add_last_word();
  const auto evaluate = Stage("evaluate", 0.5);
  EXPECT_NEAR(CombineProgress(job, {{&evaluate, 1}}, 0).fraction(), 0.5, 1e-9);
}

TEST(Progress, LayerRatiosCountWhereAStepHasThem) {
  v1::CompressionJob job = WholeJob();
  job.mutable_recipe()->mutable_steps(0)->mutable_wanda()->mutable_owl();
  const auto ratios = Stage("layer-ratios", 0.5, {"calibration-tokens"});
  const v1::Progress progress = CombineProgress(job, {{&ratios, 1}}, 0);
  EXPECT_NEAR(progress.fraction(), (2 + 15) / 130.0, 1e-9);
  EXPECT_EQ(progress.phase(), "layer-ratios");
  EXPECT_TRUE(PastPreparation({{&ratios, 1}}));
}

TEST(Progress, AStudyIsItsRunsAndThoseItKeeps) {
  v1::CompressionJob job;
  job.set_output("/out");
  job.mutable_recipe()->mutable_evaluation()->add_perplexity();
  job.mutable_recipe()->mutable_study()->add_keep("none");
  const auto study = Stage("study", 0.5);
  EXPECT_NEAR(CombineProgress(job, {{&study, 1}}, 0).fraction(), 50 / 101.0, 1e-9);
  job.mutable_recipe()->mutable_study()->set_keep(0, "best");
  EXPECT_NEAR(CombineProgress(job, {{&study, 1}}, 0).fraction(), 50 / 151.0, 1e-9);
  const auto keep = Stage("keep", 0.5, {"study"});
  EXPECT_NEAR(CombineProgress(job, {{&keep, 1}}, 0).fraction(), 125 / 151.0, 1e-9);
  EXPECT_EQ(CombineProgress(job, {{&keep, 1}}, 0).phase(), "keep");
}

TEST(Progress, OnlyPublishingIsLeftWhenEveryRankIsDone) {
  worker::v1::StageState done;
  done.mutable_outcome()->mutable_status();
  EXPECT_NEAR(CombineProgress(WholeJob(), {{&done, 1}}, 4).fraction(), 0.99, 1e-9);
}

TEST(Progress, NonsenseFromAWorkerStaysInBounds) {
  for (const double fraction : {-1.0, 7.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    const auto stage = Stage("compress", fraction);
    const double combined = CombineProgress(WholeJob(), {{&stage, 1}}, 99).fraction();
    EXPECT_GE(combined, 0);
    EXPECT_LE(combined, 1);
  }
}

}  // namespace
}  // namespace calipress::fleet
