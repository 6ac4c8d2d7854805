#include "compress/engine/stage.h"

#include <filesystem>
#include <fstream>
#include <map>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/arch/arch.h"
#include "compress/base/error.h"
#include "compress/collective/group.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

using testing::HasSubstr;

class Recorder : public StageObserver {
 public:
  void OnProgress(const std::string& phase, double fraction, const std::string&) override {
    EXPECT_GE(fraction, 0.0) << phase;
    EXPECT_LE(fraction, 1.0) << phase;
  }
  void OnBlockFinished(const worker::v1::FinishedBlock& block) override { blocks[block.index()] = block; }
  void OnPhaseFinished(const v1::PhaseReport& phase) override { phases.push_back(phase.name()); }

  std::map<int, worker::v1::FinishedBlock> blocks;
  std::vector<std::string> phases;
};

class Stage : public testing::Test {
 protected:
  Stage() : folder_(std::filesystem::path(testing::TempDir()) / ("stage" + std::to_string(getpid()))) {
    std::filesystem::remove_all(folder_);
  }
  ~Stage() override { std::filesystem::remove_all(folder_); }

  static std::string Data(const std::string& name) { return std::string(CALIPRESS_SOURCE_DIR "/tests/data/") + name; }

  worker::v1::Assignment Assignment(const std::string& yaml, const std::string& attempt) {
    auto recipe = recipe::ParseYaml(yaml);
    EXPECT_TRUE(recipe.ok()) << recipe.status();
    std::ifstream config(Data("mix-llama-5.8m/config.json"));
    std::stringstream text;
    text << config.rdbuf();
    const auto spec = arch::ParseConfig(text.str());
    EXPECT_TRUE(spec.ok()) << spec.status();
    worker::v1::Assignment assignment;
    assignment.set_world_size(1);
    assignment.set_model_uri(Data("mix-llama-5.8m"));
    assignment.set_staging_uri((folder_ / attempt).string());
    assignment.set_end_block(static_cast<int>(spec->blocks));
    *assignment.mutable_recipe() = recipe::Resolve(*recipe, *spec);
    return assignment;
  }

  absl::StatusOr<worker::v1::StageOutcome> Run(const worker::v1::Assignment& assignment, Recorder& recorder,
                                               int64_t budget = int64_t{4} << 30) {
    auto group = collective::JoinGroup("gloo", {}, CancellationToken());
    EXPECT_TRUE(group.ok()) << group.status();
    StageEnvironment environment{*store_, **group, "cpu", budget};
    return RunStage(assignment, environment, recorder, cancellation_);
  }

  static std::string Bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::string Yaml(const std::string& step, const std::string& extra = "") {
    return "calibration: {sources: [{text: {uri: '" + Data("calibration.jsonl") +
           "'}}], samples: 8, sequence_length: 64}\nsteps: [{" + step + "}]\n" + extra;
  }

  std::filesystem::path folder_;
  CancellationToken cancellation_;
  std::unique_ptr<storage::ObjectStore> store_ = storage::OpenObjectStore();
};

TEST_F(Stage, RunsThroughItsPhases) {
  Recorder recorder;
  auto outcome = Run(Assignment(Yaml("gptq: {bits: 4, group_size: 128}",
                                     "evaluation: {perplexity: [{name: t, uri: '" + Data("heldout.jsonl") +
                                         "', sequence_length: 64, max_windows: 8}]}"),
                                "a"),
                     recorder);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(recorder.phases, testing::ElementsAre("calibration-tokens", "compress", "evaluate", "assemble"));
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
    EXPECT_THAT(whole.phases, testing::ElementsAre("calibration-tokens", "layer-ratios", "compress", "assemble"));
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
