// What a stage leaves of a study: the ids of its draws, and the runs that it keeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "compress/base/error.h"
#include "compress/recipe/study.h"
#include "testing_replicas.h"
#include "testing_stage.h"

namespace calipress::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class StudyRecorder : public testing::Recorder {
 public:
  void OnRunFinished(const worker::v1::FinishedRun& run) override { finished.push_back(run); }
  void OnRunKept(const worker::v1::KeptRun& run) override { kept.push_back(run); }

  std::vector<worker::v1::FinishedRun> finished;
  std::vector<worker::v1::KeptRun> kept;
};

class StudyKeep : public testing::Stage {
 protected:
  StudyKeep() {
    fs::create_directories(folder_);
    fs::copy(Data("calibration.jsonl"), Text());
  }

  std::string Text() const { return (folder_ / "text.jsonl").string(); }

  worker::v1::Assignment StudyOf(const std::string& keep, const std::string& attempt, int draws = 1) {
    worker::v1::Assignment assignment = Assignment(
        "calibration: {samples: 4, sequence_length: 64, scored_tokens: 0}\n"
        "study:\n"
        "  methods:\n"
        "    - {name: gptq, steps: [{gptq: {group_size: 64}}]}\n"
        "    - {name: rtn, steps: [{rtn: {group_size: 64}}]}\n"
        "  sources: [{name: web, sources: [{text: {uri: '" +
            Text() +
            "'}}]}]\n"
            "  draws: " +
            std::to_string(draws) + "\n  repeat: false\n  keep: " + keep +
            "\n"
            "evaluation: {perplexity: [{name: t, uri: '" +
            Data("heldout.jsonl") + "', sequence_length: 64, max_windows: 2}]}\n",
        attempt);
    assignment.set_attempt(3);
    assignment.set_shared_staging_uri((folder_ / "shared").string());
    return assignment;
  }

  // The shards of the run as a job of its own.
  std::string Alone(const worker::v1::Assignment& study, int run) {
    worker::v1::Assignment alone = study;
    *alone.mutable_recipe() = recipe::StudyRuns(study.recipe()).at(run).recipe;
    alone.set_staging_uri((folder_ / ("alone-" + std::to_string(run))).string());
    testing::Recorder recorder;
    auto outcome = Run(alone, recorder);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? Bytes(outcome->shards(0).uri()) : "";
  }

  std::set<std::string> Files(const fs::path& folder) const {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file()) names.insert(fs::relative(entry.path(), folder));
    }
    return names;
  }
};

TEST_F(StudyKeep, SeveralRunsAreLeftWholeAndNotMadeTwice) {
  const auto study = StudyOf("[best, best-of-each-method, rtn/web/0]", "a");
  StudyRecorder recorder;
  auto outcome = Run(study, recorder);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(outcome->kept_runs(), ElementsAre("gptq/web/0", "rtn/web/0"));
  EXPECT_THAT(outcome->shards(), IsEmpty());
  EXPECT_THAT(outcome->warnings(), IsEmpty());
  EXPECT_TRUE(recorder.blocks.empty()) << "blocks of kept runs are not the job's";
  ASSERT_EQ(recorder.kept.size(), 2u);
  EXPECT_EQ(recorder.kept[1].index(), 1);
  EXPECT_EQ(recorder.kept[1].attempt(), 3);
  EXPECT_EQ(recorder.kept[1].world_size(), 1);
  EXPECT_THAT(Files(folder_ / "a"),
              ElementsAre("kept-0/calibration_ids.npy", "kept-0/calibration_ids.pb", "kept-0/model.safetensors",
                          "kept-0/rank-0.pb", "kept-1/model.safetensors", "kept-1/rank-0.pb"));
  for (const int run : {0, 1}) {
    const fs::path kept = folder_ / "a" / ("kept-" + std::to_string(run));
    worker::v1::StageState state;
    ASSERT_TRUE(state.ParseFromString(Bytes((kept / "rank-0.pb").string())));
    EXPECT_EQ(state.outcome().shards(0).uri(), (kept / "model.safetensors").string());
    EXPECT_EQ(state.finished_blocks_size(), 6);
    EXPECT_EQ(state.outcome().evaluations(0).perplexity(), recorder.finished[run].report().evaluations(0).perplexity());
    EXPECT_EQ(Bytes((kept / "model.safetensors").string()), Alone(study, run));
  }

  // An attempt that finds all runs finished and one kept does the other one.
  auto again = StudyOf("best-of-each-method", "b");
  for (const auto& run : recorder.finished) *again.add_finished_runs() = run;
  *again.add_kept_runs() = recorder.kept[1];
  fs::remove(Text());
  StudyRecorder second;
  auto resumed = Run(again, second);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_THAT(resumed->kept_runs(), ElementsAre("gptq/web/0", "rtn/web/0"));
  EXPECT_TRUE(second.finished.empty());
  ASSERT_EQ(second.kept.size(), 1u);
  EXPECT_EQ(second.kept[0].index(), 0);
  EXPECT_EQ(Bytes((folder_ / "b/kept-0/model.safetensors").string()),
            Bytes((folder_ / "a/kept-0/model.safetensors").string()));
}

TEST_F(StudyKeep, OneRunIsTheJobsOwn) {
  const auto study = StudyOf("gptq/web/0", "a");
  StudyRecorder recorder;
  auto outcome = Run(study, recorder);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(outcome->kept_runs(), ElementsAre("gptq/web/0"));
  EXPECT_EQ(recorder.blocks.size(), 6u);
  EXPECT_TRUE(recorder.kept.empty());
  ASSERT_EQ(outcome->shards_size(), 1);
  EXPECT_EQ(outcome->calibration().ids_file(), "calibration_ids.npy");
  EXPECT_EQ(Bytes(outcome->shards(0).uri()), Alone(study, 0));
}

TEST_F(StudyKeep, TheIdsOfDrawsAreLeftAndReadAgain) {
  StudyRecorder recorder;
  auto outcome = Run(StudyOf("none", "a", /*draws=*/2), recorder);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(Files(folder_ / "shared"), ElementsAre("calibration/web-0.npy", "calibration/web-0.pb",
                                                     "calibration/web-1.npy", "calibration/web-1.pb"));
  ASSERT_EQ(recorder.finished.size(), 4u);
  EXPECT_EQ(recorder.finished[0].report().calibration().ids_file(), "calibration/web-0.npy");
  EXPECT_EQ(recorder.finished[2].report().calibration().ids_file(), "calibration/web-1.npy");
  // Another attempt, on two ranks, to which the text is not there any more.
  fs::remove(Text());
  std::vector<StudyRecorder> recorders(2);
  testing::RunRanks(2, [&](collective::Group& group) {
    worker::v1::Assignment assignment = StudyOf("none", "b", /*draws=*/2);
    assignment.set_rank(group.rank());
    assignment.set_world_size(2);
    assignment.set_first_block(3 * group.rank());
    assignment.set_end_block(3 * group.rank() + 3);
    StageEnvironment environment{*store_, group, "cpu"};
    const auto ended = RunStage(assignment, environment, recorders[group.rank()], cancellation_);
    EXPECT_TRUE(ended.ok()) << ended.status();
  });
  for (const int run : {0, 2}) {
    const v1::RunReport& first = recorder.finished[run].report();
    ASSERT_EQ(recorders[0].finished.size(), 4u);
    EXPECT_EQ(recorders[0].finished[run].report().calibration().SerializeAsString(),
              first.calibration().SerializeAsString());
    EXPECT_EQ(recorders[1].finished[run].report().evaluations(0).perplexity(), first.evaluations(0).perplexity());
  }
}

TEST_F(StudyKeep, AKeptRunThatFailedIsAWarning) {
  // Two draws of a text that has one document: the second has none for GPTQ.
  std::ofstream(Text()) << "{\"text\": \"" << std::string(4000, 'a') << " b c d e f g\"}\n";
  StudyRecorder recorder;
  auto outcome = Run(StudyOf("[gptq/web/1, rtn/web/1, best-of-each-method]", "a", /*draws=*/2), recorder);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(outcome->warnings_size(), 2);
  EXPECT_EQ(outcome->warnings(0), "study.keep: gptq/web/1 failed; it is not kept");
  EXPECT_EQ(outcome->warnings(1), "study.keep: no run of gptq ended well; none of it is kept");
  EXPECT_THAT(outcome->kept_runs(), ElementsAre("rtn/web/0", "rtn/web/1"));
}

}  // namespace
}  // namespace calipress::engine
