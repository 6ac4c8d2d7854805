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
