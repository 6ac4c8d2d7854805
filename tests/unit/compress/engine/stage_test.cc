#include "compress/engine/stage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "testing_stage.h"

namespace calipress::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Recorder;
using testing::Stage;

TEST_F(Stage, RunsThroughItsPhases) {
  Recorder recorder;
  auto outcome = Run(Assignment(Yaml("gptq: {bits: 4, group_size: 128}",
                                     "evaluation: {perplexity: [{name: t, uri: '" + Data("heldout.jsonl") +
                                         "', sequence_length: 64, max_windows: 8}]}"),
                                "a"),
                     recorder);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(recorder.phases, ElementsAre("calibration-tokens", "compress", "evaluate", "assemble"));
  EXPECT_EQ(recorder.blocks.size(), 6u);
  EXPECT_EQ(recorder.blocks[3].linears_size(), 7);
  ASSERT_EQ(outcome->shards_size(), 1);
  EXPECT_EQ(outcome->shards(0).file(), "model.safetensors");
  EXPECT_EQ(outcome->calibration().tokens(), 8 * 64);
  ASSERT_EQ(outcome->evaluations_size(), 1);
  EXPECT_EQ(outcome->evaluations(0).tokens(), 8 * 63);
  EXPECT_GT(outcome->evaluations(0).kl_divergence(), 0.0);
}

TEST_F(Stage, ResumesToTheSameBytes) {
  for (const char* propagation : {"compressed", "original"}) {
    const std::string yaml = Yaml("gptq: {group_size: 128}", std::string("propagation: ") + propagation);
    Recorder whole;
    auto first = Run(Assignment(yaml, std::string("whole-") + propagation), whole);
    ASSERT_TRUE(first.ok()) << first.status();
    // A second attempt that finds the first three blocks done.
    auto assignment = Assignment(yaml, std::string("resumed-") + propagation);
    for (int block = 0; block < 3; ++block) *assignment.add_finished_blocks() = whole.blocks[block];
    assignment.set_calibration_ids_uri(
        (folder_ / (std::string("whole-") + propagation) / "calibration_ids.npy").string());
    Recorder resumed;
    auto second = Run(assignment, resumed);
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(resumed.blocks.size(), 3u);
    EXPECT_EQ(Bytes(first->shards(0).uri()), Bytes(second->shards(0).uri())) << propagation;
  }
}

TEST_F(Stage, MemoryBudgetDoesNotChangeTheBytes) {
  for (const char* propagation : {"compressed", "original"}) {
    const std::string yaml = Yaml("gptq: {group_size: 64}", std::string("propagation: ") + propagation);
    Recorder recorder;
    auto roomy = Run(Assignment(yaml, std::string("roomy-") + propagation), recorder);
    // One block per window, and down_proj's inputs made again.
    auto tight = Run(Assignment(yaml, std::string("tight-") + propagation), recorder, /*budget=*/1);
    ASSERT_TRUE(roomy.ok() && tight.ok()) << roomy.status() << tight.status();
    EXPECT_EQ(Bytes(roomy->shards(0).uri()), Bytes(tight->shards(0).uri())) << propagation;
  }
}

TEST_F(Stage, LayerRatiosKeepTheMeanAndComeAgain) {
  for (const char* step : {"wanda: {sparsity: 0.7, owl: {}}", "magnitude: {sparsity: 0.7, owl: {}}",
                           "sparsegpt: {sparsity: 0.7, owl: {}}", "wanda: {pattern: '4:8', owl: {}}"}) {
    SCOPED_TRACE(step);
    const std::string yaml = Yaml(step), name = std::to_string(std::hash<std::string>()(step));
    Recorder whole;
    auto first = Run(Assignment(yaml, name), whole);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_THAT(whole.phases, ElementsAre("calibration-tokens", "layer-ratios", "compress", "assemble"));
    ASSERT_EQ(first->layer_ratios_size(), 6);
    double sum = 0.0;
    for (const auto& ratio : first->layer_ratios()) {
      sum += ratio.sparsity();
      EXPECT_GT(ratio.outlier_share(), 0.0);
      for (const auto& linear : whole.blocks[ratio.block()].linears()) {
        EXPECT_NEAR(linear.sparsity(), ratio.sparsity(), 0.01) << linear.name();
      }
    }
    EXPECT_NEAR(sum / 6, first->layer_ratios(0).pattern().empty() ? 0.7 : 0.5, 1e-9);

    // Another attempt that finds blocks done, and one with a block per window.
    auto assignment = Assignment(yaml, name + "-resumed");
    for (const int block : {0, 1, 4}) *assignment.add_finished_blocks() = whole.blocks[block];
    Recorder resumed;
    auto second = Run(assignment, resumed, /*budget=*/1);
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(resumed.blocks.size(), 3u);
    for (int block = 0; block < 6; ++block) {
      EXPECT_EQ(second->layer_ratios(block).SerializeAsString(), first->layer_ratios(block).SerializeAsString());
    }
    EXPECT_EQ(Bytes(first->shards(0).uri()), Bytes(second->shards(0).uri()));
  }
}

TEST_F(Stage, LayerRatiosAreOfTheBlocksThatTheStepActsOn) {
  Recorder recorder;
  auto outcome =
      Run(Assignment(Yaml("wanda: {sparsity: 0.5, owl: {}}, targets: ['re:model\\.layers\\.[135]\\..*']"), "some"),
          recorder);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(outcome->layer_ratios_size(), 3);
  EXPECT_EQ(outcome->layer_ratios(1).block(), 3);
  EXPECT_EQ(recorder.blocks[0].linears_size(), 0);
}

TEST_F(Stage, AnImatrixIsTheSameAfterAResume) {
  for (const char* step : {"gptq: {group_size: 128}", "rtn: {}"}) {
    SCOPED_TRACE(step);
    const std::string yaml = Yaml(step, "output: {imatrix: true}"), name = std::string("imatrix-") + step[0];
    Recorder whole;
    auto first = Run(Assignment(yaml, name), whole);
    ASSERT_TRUE(first.ok()) << first.status();
    const std::string matrix = Bytes((folder_ / name / "imatrix.gguf").string());
    EXPECT_EQ(matrix.substr(0, 4), "GGUF");
    auto assignment = Assignment(yaml, name + "-resumed");
    for (int block = 0; block < 4; ++block) *assignment.add_finished_blocks() = whole.blocks[block];
    Recorder resumed;
    auto second = Run(assignment, resumed);
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(Bytes((folder_ / (name + "-resumed") / "imatrix.gguf").string()), matrix);
    EXPECT_EQ(Bytes(first->shards(0).uri()), Bytes(second->shards(0).uri()));
    // The checkpoint is the one without.
    Recorder plain;
    auto without = Run(Assignment(Yaml(step), name + "-plain"), plain);
    ASSERT_TRUE(without.ok()) << without.status();
    EXPECT_EQ(Bytes(first->shards(0).uri()), Bytes(without->shards(0).uri()));
  }
}

TEST_F(Stage, StopsWhenCancelled) {
  cancellation_.Cancel(absl::CancelledError("enough"));
  Recorder recorder;
  auto outcome = Run(Assignment(Yaml("gptq: {}"), "c"), recorder);
  EXPECT_EQ(outcome.status().message(), "enough");
}

TEST_F(Stage, NamesWhatIsMissing) {
  Recorder recorder;
  auto assignment = Assignment(Yaml("gptq: {}"), "m");
  assignment.set_model_uri((folder_ / "nothing").string());
  auto outcome = Run(assignment, recorder);
  EXPECT_EQ(ErrorReason(outcome.status()), "SOURCE_MODEL_NOT_FOUND");
  EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("config.json"));
}

}  // namespace
}  // namespace calipress::engine
