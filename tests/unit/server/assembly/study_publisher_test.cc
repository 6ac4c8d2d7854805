// What a study puts into its output: tables, the ids of its draws, and the runs that it keeps.
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>

#include <set>

#include "compress/base/error.h"
#include "compress/recipe/recipe.h"
#include "compress/recipe/study.h"
#include "gtest/gtest.h"
#include "server/assembly/checkpoint_publisher.h"
#include "server/fleet/staging.h"
#include "tests/unit/server/assembly/testing_crashing_store.h"
#include "tests/unit/server/assembly/testing_shards.h"
#include "tests/unit/server/assembly/testing_tiny_model.h"

namespace calipress::assembly {
namespace {

namespace fs = std::filesystem;
using testing::ReadFile;
using testing::WriteFile;

constexpr char kStudy[] = R"(
study:
  methods:
    - {name: four, steps: [{rtn: {bits: 4, group_size: 8}}]}
    - {name: eight, steps: [{rtn: {bits: 8, group_size: 8}}]}
  sources: [{name: web, sources: [{text: {uri: a.txt}}]}]
  draws: 2
  keep: best-of-each-method
  repeat: false
evaluation: {perplexity: [{name: t, uri: t.txt}]}
)";

// A study of four runs whose workers are done. Places of the runs: four and eight of draw 0, then of draw 1.
class StudyPublisherTest : public ::testing::Test {
 protected:
  StudyPublisherTest() : store_(storage::OpenObjectStore()), publisher_(store_.get()) {
    testing::WriteTinyModel(*store_, folder_ / "model");
    job_ = testing::RunningJob(folder_);
    const auto recipe = recipe::ParseYaml(kStudy);
    EXPECT_TRUE(recipe.ok()) << recipe.status();
    *job_.mutable_recipe() = recipe::Resolve(*recipe, testing::TinySpec());
    runs_ = recipe::StudyRuns(job_.recipe());
    for (const recipe::StudyRun& run : runs_) {
      auto* told = report_.mutable_study()->add_runs();
      told->set_name(run.name);
      told->mutable_calibration()->set_ids_file(recipe::CalibrationSetFile(run.source, run.draw));
    }
  }

  // Everything that workers leave of a study that keeps the runs at these places; the first was written by attempt 1.
  void Stage(const std::vector<int>& places) {
    fs::remove_all(folder_ / "out");
    kept_.clear();
    outcomes_.assign(2, {});
    report_.mutable_study()->clear_kept();
    for (auto& run : *report_.mutable_study()->mutable_runs()) run.clear_checkpoint();
    for (const int place : places) {
      report_.mutable_study()->add_kept(runs_[place].name);
      report_.mutable_study()->mutable_runs(place)->set_checkpoint(
          places.size() == 1 ? "." : recipe::RunFolder(runs_[place].name));
      if (places.size() == 1) {
        outcomes_ = testing::StageShards(*store_, runs_[place].recipe, fleet::AttemptStaging(job_, 2), 2);
        WriteFile(fleet::CalibrationIdsUri(job_, 2), "ids");
        continue;
      }
      auto& kept = kept_.emplace_back();
      kept.set_index(place);
      kept.set_attempt(kept_.size() == 1 ? 1 : 2);
      kept.set_world_size(2);
      const std::string staging = fleet::KeptStaging(job_, kept.attempt(), place);
      const auto outcomes = testing::StageShards(*store_, runs_[place].recipe, staging, 2);
      WriteFile(storage::JoinUri(staging, fleet::kCalibrationIdsFile), "ids of " + runs_[place].name);
      for (int rank = 0; rank < 2; ++rank) {
        worker::v1::StageState state;
        *state.mutable_outcome() = outcomes[rank];
        if (rank == 1) state.mutable_outcome()->add_evaluations()->set_name("t");
        state.add_phases()->set_name("compress");
        state.mutable_phases(0)->set_seconds(2 + rank);
        auto* block = state.add_finished_blocks();
        block->set_index(rank);
        block->add_linears()->set_name("model.layers." + std::to_string(rank) + ".linear");
        WriteFile(storage::JoinUri(staging, fleet::KeptStateFile(rank)), state.SerializeAsString());
      }
    }
    for (const char* set : {"web-0", "web-1"}) {
      const std::string name = folder_ / (std::string("out/_calipress/uid-1/calibration/") + set);
      WriteFile(name + ".npy", set);
      WriteFile(name + ".pb", "a report");
    }
  }

  absl::Status PublishTo(storage::ObjectStore& store, v1::Report* report) {
    return CheckpointPublisher(&store).Publish(job_, outcomes_, {}, kept_, report);
  }
  absl::Status Publish() { return PublishTo(*store_, &report_); }

  std::set<std::string> Output() const {
    std::set<std::string> names;
    if (!fs::exists(folder_ / "out")) return names;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "out")) {
      const std::string name = fs::relative(entry.path(), folder_ / "out");
      if (entry.is_regular_file() && !name.starts_with("_calipress")) names.insert(name);
    }
    return names;
  }

  // The output of a study, with checkpoints in these folders.
  static std::set<std::string> Whole(const std::vector<std::string>& folders) {
    std::set<std::string> names = {"study_comparisons.csv",
                                   "study.csv",
                                   "study_runs.csv",
                                   "study.json",
                                   "study.md",
                                   "study.yaml",
                                   "report.json",
                                   "report.html",
                                   "calibration/web-0.npy",
                                   "calibration/web-1.npy"};
    for (const std::string& folder : folders) {
      for (const char* name :
           {"config.json", "tokenizer.json", "recipe.yaml", "report.json", "report.html", "calibration_ids.npy",
            "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
        names.insert(folder.empty() ? name : folder + "/" + name);
      }
    }
    return names;
  }

  v1::Report ReportIn(const std::string& name) const {
    v1::Report report;
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(ReadFile(folder_ / ("out/" + name)), &report).ok()) << name;
    return report;
  }

  testing::TestFolder folder_;
  std::unique_ptr<storage::ObjectStore> store_;
  CheckpointPublisher publisher_;
  v1::CompressionJob job_;
  std::vector<recipe::StudyRun> runs_;
  std::vector<worker::v1::StageOutcome> outcomes_;
  std::vector<worker::v1::KeptRun> kept_;
  v1::Report report_;
};

const std::vector<std::string> kTwoFolders = {"runs/four-web-0", "runs/eight-web-1"};

TEST_F(StudyPublisherTest, EveryKeptRunIsACheckpointOfItsOwn) {
  Stage({0, 3});
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_EQ(Output(), Whole(kTwoFolders));
  for (const int place : {0, 3}) {
    const std::string folder = recipe::RunFolder(runs_[place].name);
    SCOPED_TRACE(folder);
    EXPECT_TRUE(checkpoint::ModelReader::Open(*store_, folder_ / ("out/" + folder)).ok());
    const auto recipe = recipe::ParseYaml(ReadFile(folder_ / ("out/" + folder + "/recipe.yaml")));
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*recipe, runs_[place].recipe));
    EXPECT_EQ(ReadFile(folder_ / ("out/" + folder + "/calibration_ids.npy")), "ids of " + runs_[place].name);
    const v1::Report report = ReportIn(folder + "/report.json");
    EXPECT_EQ(report.source_bytes(), report_.source_bytes());
    EXPECT_GT(report.output_bytes(), 0);
    EXPECT_EQ(report.evaluations(0).name(), "t");
    ASSERT_EQ(report.linears_size(), 2);
    EXPECT_EQ(report.linears(1).name(), "model.layers.1.linear");
    EXPECT_EQ(report.total_seconds(), 3);
    EXPECT_FALSE(report.has_study());
  }
  EXPECT_EQ(ReadFile(folder_ / "out/calibration/web-1.npy"), "web-1");
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(ReportIn("report.json"), report_));
  EXPECT_EQ(report_.output_bytes(), 0);
  job_.set_state(v1::CompressionJob::SUCCEEDED);
  ASSERT_TRUE(publisher_.Sweep(job_).ok());
  EXPECT_EQ(Output(), Whole(kTwoFolders));
  EXPECT_FALSE(fs::exists(folder_ / "out/_calipress"));
}

TEST_F(StudyPublisherTest, OneKeptRunIsTheOutputItself) {
  Stage({3});
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_EQ(Output(), Whole({""}));
  EXPECT_GT(report_.output_bytes(), 0);
  EXPECT_EQ(report_.study().kept(0), "eight/web/1");
}

TEST_F(StudyPublisherTest, KeepingNoneLeavesTablesAndIds) {
  Stage({});
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_EQ(Output(), Whole({}));
}

// The process dies at every single change in turn: whoever looks sees whole checkpoints alone. The coordinator then
// publishes again, or the job was cancelled and nothing is left.
TEST_F(StudyPublisherTest, GoesOnAfterACrashAnywhereOrLeavesNothing) {
  for (const std::vector<int>& places : {std::vector<int>{0, 3}, {2}, {}}) {
    std::vector<std::string> folders;
    for (const int place : places) {
      folders.push_back(places.size() == 1 ? "" : recipe::RunFolder(runs_[place].name));
    }
    int crashes = 0;
    // All of them where there are several checkpoints; a few where the order is that of any job.
    for (int changes = 0;; changes += places.size() > 1 ? 1 : 4) {
      SCOPED_TRACE(std::to_string(places.size()) + " runs, after " + std::to_string(changes));
      Stage(places);
      testing::CrashingStore crashing(*store_, changes);
      v1::Report first = report_;
      const absl::Status status = PublishTo(crashing, &first);
      if (!crashing.crashed()) {
        EXPECT_TRUE(status.ok()) << status;
        break;
      }
      ++crashes;
      for (const std::string& folder : folders) {
        if (!fs::exists(folder_ / ("out/" + folder + "/config.json"))) continue;
        for (const std::string& name : Whole({folder})) {
          if (name.starts_with("runs/")) EXPECT_TRUE(Output().contains(name)) << name;
        }
      }
      v1::Report second = report_;
      const absl::Status again = PublishTo(*store_, &second);
      ASSERT_TRUE(again.ok()) << again;
      EXPECT_EQ(Output(), Whole(folders));

      if (changes % 4 != 0) continue;
      Stage(places);
      testing::CrashingStore dying(*store_, changes);
      v1::Report third = report_;
      ASSERT_FALSE(PublishTo(dying, &third).ok());
      WriteFile(folder_ / "out/runs/notes.txt", "the user's");
      job_.set_state(v1::CompressionJob::CANCELLED);
      ASSERT_TRUE(publisher_.Sweep(job_).ok());
      job_.set_state(v1::CompressionJob::RUNNING);
      EXPECT_EQ(Output(), std::set<std::string>{"runs/notes.txt"});
    }
    EXPECT_GE(crashes, 3);
  }
}

TEST_F(StudyPublisherTest, PublishingTwiceGivesTheFirstReport) {
  for (const std::vector<int>& places : {std::vector<int>{0, 3}, {2}, {}}) {
    Stage(places);
    ASSERT_TRUE(Publish().ok()) << Publish();
    const v1::Report first = report_;
    report_.set_total_seconds(report_.total_seconds() + 99);
    ASSERT_TRUE(Publish().ok()) << Publish();
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(report_, first));
  }
}

TEST_F(StudyPublisherTest, ForeignFilesAreRefusedAndLeftAlone) {
  for (const char* name : {"runs/four-web-0/config.json", "runs/eight-web-1/pytorch_model.bin", "report.json",
                           "calibration/web-1.npy", "study.csv"}) {
    SCOPED_TRACE(name);
    Stage({0, 3});
    WriteFile(folder_ / (std::string("out/") + name), "foreign");
    EXPECT_EQ(ErrorReason(Publish()), reason::kOutputExists);
    EXPECT_EQ(Output(), std::set<std::string>{name});
    EXPECT_EQ(ReadFile(folder_ / (std::string("out/") + name)), "foreign");
    job_.set_state(v1::CompressionJob::FAILED);
    ASSERT_TRUE(publisher_.Sweep(job_).ok());
    job_.set_state(v1::CompressionJob::RUNNING);
    EXPECT_EQ(Output(), std::set<std::string>{name});
  }
  // What is nobody's business stays.
  Stage({0, 3});
  WriteFile(folder_ / "out/notes/model.safetensors", "the user's");
  EXPECT_TRUE(Publish().ok()) << Publish();
}

TEST_F(StudyPublisherTest, WhatWorkersLeftIsLookedAt) {
  const auto expect = [&](ErrorClass error_class, const std::string& says, const std::function<void()>& spoil) {
    Stage({0, 3});
    spoil();
    const absl::Status status = Publish();
    EXPECT_EQ(ErrorClassOf(status), error_class) << status;
    EXPECT_NE(status.message().find(says), absl::string_view::npos) << status;
    EXPECT_EQ(Output(), std::set<std::string>());
  };
  const auto state = [&](int place) {
    return storage::JoinUri(fleet::KeptStaging(job_, 2, place), fleet::KeptStateFile(1));
  };
  expect(ErrorClass::kEnvironment, "rank-1.pb is gone", [&] { fs::remove(state(3)); });
  expect(ErrorClass::kDefect, "rank-1.pb is damaged", [&] { WriteFile(state(3), "nonsense"); });
  expect(ErrorClass::kDefect, "no worker wrote it", [&] { kept_.pop_back(); });
  expect(ErrorClass::kDefect, "has no run", [&] { report_.mutable_study()->set_kept(0, "../x"); });
  expect(ErrorClass::kEnvironment, "web-0.npy, which the job wrote, is gone",
         [&] { fs::remove(folder_ / "out/_calipress/uid-1/calibration/web-0.npy"); });
}

TEST_F(StudyPublisherTest, OnlySetsThatTheStudyHasArePublished) {
  Stage({});
  report_.mutable_study()->mutable_runs(0)->mutable_calibration()->set_ids_file("../../model/config.json");
  report_.mutable_study()->mutable_runs(1)->mutable_calibration()->clear_ids_file();
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_FALSE(Output().contains("calibration/web-0.npy"));
  EXPECT_TRUE(Output().contains("calibration/web-1.npy"));
  EXPECT_TRUE(fs::exists(folder_ / "model/config.json"));
}

}  // namespace
}  // namespace calipress::assembly
