// Jobs that run: scripted workers, a clock that tests move.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/unit/server/fleet/testing_coordinator.h"

namespace calipress::fleet {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CoordinatorRun : public CoordinatorTest {
 protected:
  void StartTwo() {
    // The gang is complete with the second worker; the first hears of it at its next call.
    w1.GoIdle();
    ASSERT_TRUE(w2.TakeUp());
    ASSERT_TRUE(w1.TakeUp());
  }

  FakeWorker w1{coordinator, "w-1"};
  FakeWorker w2{coordinator, "w-2"};
};

TEST_F(CoordinatorRun, RunsAJobToItsPublishedEnd) {
  Submit("a");
  EXPECT_THAT(coordinator->Workers(), IsEmpty());
  StartTwo();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::PREPARING);
  const worker::v1::Assignment& assignment = w2.assignment();
  EXPECT_EQ(assignment.job_name(), "compressionJobs/a");
  EXPECT_EQ(assignment.rank(), 1);
  EXPECT_EQ(assignment.world_size(), 2);
  EXPECT_EQ(assignment.rendezvous(), "w-1:29500");
  EXPECT_EQ(assignment.model_uri(), "/models/tiny");
  EXPECT_EQ(assignment.output_uri(), "/out/a");
  EXPECT_EQ(assignment.staging_uri(), "/out/a/_calipress/" + Get("a").uid() + "/attempt-1");
  EXPECT_EQ(assignment.recipe().steps(0).gptq().bits(), 4);
  EXPECT_EQ(assignment.first_block(), 2);
  EXPECT_EQ(assignment.end_block(), 4);
  EXPECT_EQ(assignment.finished_blocks_size(), 0);
  EXPECT_EQ(assignment.calibration_ids_uri(), "");
  EXPECT_EQ(assignment.device(), "cpu");

  w1.Phase("calibration-tokens", 0.5, "reading");
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::PREPARING);
  w1.EndPhase("calibration-tokens", 1);
  Pass(1);
  w1.Phase("compress", 0.25, "block 0: q_proj");
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::RUNNING);
  EXPECT_EQ(Get("a").progress().phase(), "compress");
  EXPECT_EQ(Get("a").progress().message(), "block 0: q_proj");
  auto workers = coordinator->Workers();
  ASSERT_EQ(workers.size(), 2u);
  EXPECT_EQ(workers[0].state(), v1::WorkerInfo::BUSY);
  EXPECT_EQ(workers[0].job(), "compressionJobs/a");
  EXPECT_EQ(workers[0].threads(), 2);

  w1.Finish(0);
  w1.Finish(1);
  w2.Phase("compress", 0.9);
  w2.Finish(3);
  w2.Finish(2);
  EXPECT_EQ(Get("a").progress().blocks_done(), 4);
  EXPECT_EQ(Get("a").progress().blocks_total(), 4);
  w1.EndPhase("compress", 10);
  w2.EndPhase("compress", 12);
  auto* outcome = w1.stage().mutable_outcome();
  outcome->mutable_calibration()->set_tokens(77);
  outcome->add_warnings("dead columns");
  outcome->add_layer_ratios()->set_sparsity(0.6);
  outcome->add_shards()->set_file("model-00001-of-00002.safetensors");
  w1.End(absl::OkStatus());
  EXPECT_FALSE(w1.assigned());
  w1.GoIdle();
  EXPECT_FALSE(w1.assigned());
  EXPECT_TRUE(publisher.calls.empty());
  w2.stage().mutable_outcome()->add_evaluations()->set_name("stories");
  w2.stage().mutable_outcome()->add_tasks()->set_name("questions");
  w2.stage().mutable_outcome()->mutable_tasks(0)->set_domain(std::string(10000, 'x'));
  w2.stage().mutable_outcome()->add_warnings("dead columns");
  w2.stage().mutable_outcome()->set_peak_memory_bytes(5000);
  w2.End(absl::OkStatus());
  EXPECT_EQ(Get("a").progress().phase(), "publish");
  coordinator->RunPublishing();

  ASSERT_EQ(publisher.calls.size(), 1u);
  const ScriptedPublisher::Call& call = publisher.calls[0];
  ASSERT_EQ(call.outcomes.size(), 2u);
  EXPECT_EQ(call.outcomes[0].shards(0).file(), "model-00001-of-00002.safetensors");
  ASSERT_EQ(call.blocks.size(), 4u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(call.blocks[i].index(), i);
  EXPECT_EQ(call.job.attempt(), 1);

  const v1::CompressionJob job = Get("a");
  EXPECT_EQ(job.state(), v1::CompressionJob::SUCCEEDED);
  EXPECT_EQ(job.progress().fraction(), 1);
  EXPECT_TRUE(job.has_start_time() && job.has_end_time());
  const v1::Report& report = job.report();
  EXPECT_EQ(report.output_bytes(), 1234);
  EXPECT_EQ(report.calibration().tokens(), 77);
  ASSERT_EQ(report.layer_ratios_size(), 1);
  EXPECT_EQ(report.layer_ratios(0).sparsity(), 0.6);
  EXPECT_THAT(report.warnings(), ElementsAre("dead columns"));
  EXPECT_EQ(report.evaluations(0).name(), "stories");
  ASSERT_EQ(report.tasks_size(), 1);
  EXPECT_EQ(report.tasks(0).name(), "questions");
  EXPECT_EQ(report.tasks(0).domain().size(), 500u);
  EXPECT_EQ(report.peak_memory_bytes(), 5000);
  EXPECT_EQ(report.linears_size(), 4);
  EXPECT_EQ(report.total_seconds(), 1);
  ASSERT_EQ(report.phases_size(), 2);
  EXPECT_EQ(report.phases(1).name(), "compress");
  EXPECT_EQ(report.phases(1).seconds(), 12);                 // side by side
  EXPECT_EQ(report.phases(1).activities().at("solve"), 11);  // summed over workers
  EXPECT_THAT(publisher.swept, ElementsAre("compressionJobs/a"));
  EXPECT_THAT(*store->LoadUnswept(), IsEmpty());

  const auto events = Events("a");
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].sequence(), static_cast<int64_t>(i + 1));
  EXPECT_THAT(Messages("a"), Contains("attempt 1: starts on w-1, w-2"));
  EXPECT_THAT(Messages("a"), Contains("block 3 finished"));
  EXPECT_EQ(events.back().state(), v1::CompressionJob::SUCCEEDED);
  EXPECT_TRUE(coordinator->Events("compressionJobs/a", events.back().sequence(), 10)->ended);
  EXPECT_EQ(coordinator->Workers()[0].state(), v1::WorkerInfo::IDLE);
  EXPECT_FALSE(coordinator->List({})->compression_jobs(0).has_report());
}

TEST_F(CoordinatorRun, ALostWorkersBlocksAreKeptAndTheJobGoesOnWithTheOneLeft) {
  Submit("a");
  StartTwo();
  w1.EndPhase("calibration-tokens", 1);
  w1.Phase("compress", 0.5);
  w1.Finish(0);
  w1.Finish(1);
  w2.Phase("compress", 0.5);
  w2.Finish(2);
  w1.EndPhase("compress", 3);
  for (int second = 0; second < 15; ++second) {
    Pass(1);
    ASSERT_TRUE(w1.Sync().ok());
  }
  EXPECT_FALSE(w1.assigned());
  EXPECT_EQ(coordinator->Workers()[1].state(), v1::WorkerInfo::LOST);
  w1.GoIdle();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::QUEUED);
  EXPECT_EQ(Get("a").attempts_lost(), 1);
  EXPECT_THAT(Messages("a"), Contains("attempt 1: worker w-2 was lost; going on from block 3"));
  Pass(5.1);
  ASSERT_TRUE(w1.TakeUp());
  EXPECT_THAT(Messages("a"), Contains("attempt 2: starts on w-1, going on from block 3"));
  EXPECT_EQ(w1.assignment().attempt(), 2);
  EXPECT_EQ(w1.assignment().world_size(), 1);
  EXPECT_EQ(w1.assignment().end_block(), 4);
  ASSERT_EQ(w1.assignment().finished_blocks_size(), 3);
  EXPECT_THAT(w1.assignment().finished_blocks(2).uri(), HasSubstr("attempt-1/block-2"));
  EXPECT_THAT(w1.assignment().calibration_ids_uri(), HasSubstr("attempt-1/calibration_ids.npy"));

  // The zombie's words do not count.
  EXPECT_TRUE(w2.Sync().ok());
  EXPECT_FALSE(w2.assigned());
  w2.Finish(3);
  EXPECT_EQ(Get("a").progress().blocks_done(), 3);
  // Neither does a second copy of a block that is there.
  w1.Phase("compress", 0.1);
  const double resumed = Get("a").progress().fraction();
  EXPECT_GT(resumed, 0.5);
  w1.Finish(2);
  w1.Finish(3);
  EXPECT_GT(Get("a").progress().fraction(), resumed);
  w1.EndPhase("compress", 4);
  w1.End(absl::OkStatus());
  coordinator->RunPublishing();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::SUCCEEDED);
  ASSERT_EQ(publisher.calls[0].blocks.size(), 4u);
  EXPECT_THAT(publisher.calls[0].blocks[2].uri(), HasSubstr("attempt-1"));
  EXPECT_THAT(publisher.calls[0].blocks[3].uri(), HasSubstr("attempt-2"));
  EXPECT_EQ(publisher.calls[0].report.phases(1).seconds(), 7);  // both attempts
}

TEST_F(CoordinatorRun, RunsThatAStudyKeepsAreWrittenOnce) {
  Submission submission = Request("a");
  v1::Recipe& recipe = *submission.job.mutable_recipe();
  recipe.Clear();
  for (const char* method : {"gptq", "rtn"}) recipe.mutable_study()->add_methods()->set_name(method);
  recipe.mutable_study()->add_sources()->set_name("web");
  recipe.mutable_study()->set_draws(1);
  recipe.mutable_study()->add_keep("best-of-each-method");
  ASSERT_TRUE(coordinator->Submit(submission).ok());
  StartTwo();
  EXPECT_EQ(w1.assignment().shared_staging_uri(), "/out/a/_calipress/" + Get("a").uid());
  for (FakeWorker* worker : {&w1, &w2}) {
    for (int run = 0; run < 2; ++run) {
      auto* finished = worker->stage().add_finished_runs();
      finished->set_index(run);
      finished->mutable_report()->set_name(run == 0 ? "gptq/web/0" : "rtn/web/0");
    }
    worker->Phase("keep", 0.1);
    // Both wrote the first run, one of them the second as well.
    worker->stage().add_kept_runs()->set_index(0);
    worker->stage().mutable_kept_runs(0)->set_attempt(77);
    EXPECT_TRUE(worker->Sync().ok());
  }
  w1.stage().add_kept_runs()->set_index(1);
  EXPECT_TRUE(w1.Sync().ok());
  // A restart knows it too.
  StartCoordinator();
  EXPECT_TRUE(w1.Sync().ok());
  for (int second = 0; second < 20; ++second) {
    Pass(1);
    ASSERT_TRUE(w1.Sync().ok());
  }
  w1.GoIdle();
  Pass(5.1);
  ASSERT_TRUE(w1.TakeUp());
  ASSERT_EQ(w1.assignment().attempt(), 2);
  ASSERT_EQ(w1.assignment().kept_runs_size(), 1);
  EXPECT_EQ(w1.assignment().kept_runs(0).index(), 0);
  EXPECT_EQ(w1.assignment().kept_runs(0).attempt(), 1);
  EXPECT_EQ(w1.assignment().kept_runs(0).world_size(), 2);
  w1.stage().add_kept_runs()->set_index(1);
  for (const char* run : {"gptq/web/0", "rtn/web/0"}) w1.stage().mutable_outcome()->add_kept_runs(run);
  w1.End(absl::OkStatus());
  coordinator->RunPublishing();
  ASSERT_EQ(publisher.calls.size(), 1u);
  const auto& kept = publisher.calls[0].kept;
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[1].index(), 1);
  EXPECT_EQ(kept[1].attempt(), 2);
  EXPECT_EQ(kept[1].world_size(), 1);
  const v1::StudyReport& study = publisher.calls[0].report.study();
  EXPECT_THAT(study.kept(), ElementsAre("gptq/web/0", "rtn/web/0"));
  ASSERT_EQ(study.runs_size(), 2);
  EXPECT_EQ(study.runs(1).checkpoint(), "runs/rtn-web-0");
}

TEST_F(CoordinatorRun, ProgressNeverFallsWithinAnAttempt) {
  Submit("a");
  StartTwo();
  double before = 0;
  const auto check = [&] {
    const double now = Get("a").progress().fraction();
    EXPECT_GE(now, before);
    EXPECT_LT(now, 1);
    before = now;
  };
  for (const double fraction : {0.5, 0.2, 0.9, 17.0, -3.0}) {
    w1.Phase("compress", fraction);
    check();
  }
  w2.Phase("compress", 1);
  w1.EndPhase("compress", 1);
  check();
  w1.Phase("assemble", 0);
  check();
}

TEST_F(CoordinatorRun, ProgressEventsAreFew) {
  Submit("a");
  StartTwo();
  w1.Phase("compress", 0.0);
  const size_t before = Events("a").size();
  for (int i = 1; i <= 100; ++i) {
    clock.Pass(0.01);
    w1.Phase("compress", i / 100.0, "line " + std::to_string(i));
  }
  EXPECT_LE(Events("a").size() - before, 2u);
  EXPECT_GE(Events("a").size() - before, 1u);
  // Nothing new: no event.
  clock.Pass(10);
  w1.Phase("compress", 1.0, "line 100");
  const size_t quiet = Events("a").size();
  clock.Pass(10);
  w1.Phase("compress", 1.0, "line 100");
  EXPECT_EQ(Events("a").size(), quiet);
}

TEST_F(CoordinatorRun, AUsersFailureFailsTheJobAndSweeps) {
  Submit("a");
  StartTwo();
  w2.End(UserError(reason::kNonFiniteWeights, "model.layers.3.mlp.up_proj.weight has NaN"));
  ASSERT_TRUE(w1.Sync().ok());
  EXPECT_FALSE(w1.assigned());
  w1.GoIdle();
  const v1::CompressionJob job = Get("a");
  EXPECT_EQ(job.state(), v1::CompressionJob::FAILED);
  EXPECT_EQ(ErrorReason(FromRpcStatus(job.error())), reason::kNonFiniteWeights);
  EXPECT_EQ(ErrorClassOf(FromRpcStatus(job.error())), ErrorClass::kUser);
  EXPECT_THAT(job.error().message(), HasSubstr("up_proj.weight has NaN"));
  coordinator->RunPublishing();
  EXPECT_THAT(publisher.swept, ElementsAre("compressionJobs/a"));
  EXPECT_TRUE(publisher.calls.empty());
}

TEST_F(CoordinatorRun, AFailedSweepIsTriedAgainAfterAPauseUpToABound) {
  Submit("a");
  StartTwo();
  w2.End(UserError(reason::kNonFiniteWeights, "model.layers.3.mlp.up_proj.weight has NaN"));
  ASSERT_TRUE(w1.Sync().ok());
  w1.GoIdle();
  publisher.sweep_failures.assign(100, EnvironmentError(reason::kStorageUnavailable, "the store does not answer"));
  coordinator->RunPublishing();
  coordinator->RunPublishing();
  EXPECT_EQ(publisher.swept.size(), 1u) << "the pause is kept";
  for (int i = 0; i < 20; ++i) {
    Pass(1000);
    coordinator->RunPublishing();
  }
  EXPECT_EQ(static_cast<int>(publisher.swept.size()), options.sweep_tries);
  EXPECT_EQ(store->LoadUnswept()->size(), 1u) << "a restart sweeps again";
}

// A study that fails at its end, or is cancelled: what its runs measured stays.
TEST_F(CoordinatorRun, AStudysRunsOutliveIt) {
  for (const bool cancel : {false, true}) {
    const std::string id = cancel ? "cancelled" : "failed";
    Submission study = Request(id, 1);
    study.job.mutable_recipe()->clear_steps();
    auto* method = study.job.mutable_recipe()->mutable_study()->add_methods();
    method->set_name("rtn");
    method->add_steps()->mutable_rtn();
    ASSERT_TRUE(coordinator->Submit(study).ok());
    ASSERT_TRUE(w1.TakeUp());
    auto* run = w1.stage().add_finished_runs();
    run->mutable_report()->set_name("rtn/web/0");
    run->mutable_report()->add_evaluations()->set_perplexity(12.5);
    w1.Phase("study", 0.5);
    if (cancel) {
      ASSERT_TRUE(coordinator->Cancel("compressionJobs/" + id, Get(id).etag()).ok());
      w1.End(absl::CancelledError("stopped"));
    } else {
      w1.End(UserError(reason::kStorageFull, "no space is left"));
    }
    w1.GoIdle();
    const v1::CompressionJob job = Get(id);
    EXPECT_EQ(job.state(), cancel ? v1::CompressionJob::CANCELLED : v1::CompressionJob::FAILED);
    ASSERT_EQ(job.report().study().runs_size(), 1) << id;
    EXPECT_EQ(job.report().study().runs(0).evaluations(0).perplexity(), 12.5);
    EXPECT_EQ(job.report().study().statistics_size(), 2);
  }
}

// Whatever its workers did to the end: without one run that ended well there is no result.
TEST_F(CoordinatorRun, AStudyOfNothingButFailuresFails) {
  for (const bool all : {true, false}) {
    const std::string id = all ? "all" : "one";
    Submission study = Request(id, 1);
    study.job.mutable_recipe()->clear_steps();
    auto* method = study.job.mutable_recipe()->mutable_study()->add_methods();
    method->set_name("wanda");
    method->add_steps()->mutable_wanda();
    ASSERT_TRUE(coordinator->Submit(study).ok());
    ASSERT_TRUE(w1.TakeUp());
    for (const int draw : {0, 1}) {
      auto* run = w1.stage().add_finished_runs();
      run->set_index(draw);
      run->mutable_report()->set_name(absl::StrCat("wanda/web/", draw));
      if (draw > 0 && !all) continue;
      run->mutable_report()->set_error("a.txt is empty");
      run->mutable_report()->set_error_reason(std::string(reason::kInvalidCalibrationData));
    }
    w1.End(absl::OkStatus());
    coordinator->RunPublishing();
    w1.GoIdle();
    const v1::CompressionJob job = Get(id);
    EXPECT_EQ(job.state(), all ? v1::CompressionJob::FAILED : v1::CompressionJob::SUCCEEDED);
    EXPECT_EQ(publisher.calls.size(), all ? 0u : 1u);
    EXPECT_EQ(job.report().study().runs_size(), 2) << "what the runs said stays";
    if (!all) continue;
    const absl::Status error = FromRpcStatus(job.error());
    EXPECT_EQ(ErrorReason(error), reason::kInvalidCalibrationData);
    EXPECT_EQ(ErrorClassOf(error), ErrorClass::kUser);
    EXPECT_THAT(std::string(error.message()),
                testing::StartsWith("none of the study's 2 runs ended well; wanda/web/0: a.txt is empty"));
  }
}

TEST_F(CoordinatorRun, EnvironmentFailuresAreTriedAgainUpToABound) {
  Submit("a", 1);
  for (int failure = 1; failure <= 3; ++failure) {
    ASSERT_TRUE(w1.TakeUp());
    EXPECT_EQ(w1.assignment().attempt(), failure);
    w1.End(EnvironmentError(reason::kStorageUnavailable, "the store does not answer"));
    EXPECT_EQ(Get("a").attempts_failed(), failure);
    Pass(30);
  }
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::FAILED);
  EXPECT_EQ(ErrorReason(FromRpcStatus(Get("a").error())), reason::kTooManyAttempts);
  EXPECT_THAT(Get("a").error().message(), HasSubstr("the store does not answer"));
}

TEST_F(CoordinatorRun, CancelStopsItsWorkers) {
  Submit("a");
  StartTwo();
  auto cancelling = coordinator->Cancel("compressionJobs/a", Get("a").etag());
  ASSERT_TRUE(cancelling.ok()) << cancelling.status();
  EXPECT_EQ(cancelling->state(), v1::CompressionJob::CANCELLING);
  ASSERT_TRUE(w1.Sync().ok());
  EXPECT_FALSE(w1.assigned());
  w1.GoIdle();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::CANCELLING);
  w2.End(absl::CancelledError("stopped"));
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::CANCELLED);
  coordinator->RunPublishing();
  EXPECT_THAT(publisher.swept, ElementsAre("compressionJobs/a"));
}

TEST_F(CoordinatorRun, PublishingIsTriedAgainAfterEnvironmentFailures) {
  Submit("a", 1);
  ASSERT_TRUE(w1.TakeUp());
  w1.End(absl::OkStatus());
  publisher.failures = {EnvironmentError(reason::kStorageUnavailable, "down"),
                        EnvironmentError(reason::kStorageUnavailable, "down")};
  coordinator->RunPublishing();
  coordinator->RunPublishing();  // its pause is not over
  EXPECT_EQ(publisher.calls.size(), 1u);
  Pass(2);
  coordinator->RunPublishing();
  Pass(4);
  coordinator->RunPublishing();
  EXPECT_EQ(publisher.calls.size(), 3u);
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::SUCCEEDED);
}

TEST_F(CoordinatorRun, PublishingFailsForGoodWhereTheUserMustAct) {
  Submit("a", 1);
  ASSERT_TRUE(w1.TakeUp());
  w1.End(absl::OkStatus());
  publisher.failures = {PreconditionError(reason::kOutputExists, "/out/a is not empty")};
  coordinator->RunPublishing();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::FAILED);
  EXPECT_EQ(ErrorReason(FromRpcStatus(Get("a").error())), reason::kOutputExists);
  EXPECT_THAT(publisher.swept, ElementsAre("compressionJobs/a"));
}

TEST_F(CoordinatorRun, ACancelThatComesWhilePublishingIsTooLate) {
  Submit("a", 1);
  ASSERT_TRUE(w1.TakeUp());
  w1.End(absl::OkStatus());
  publisher.on_publish = [&] {
    EXPECT_EQ(coordinator->Cancel("compressionJobs/a", "")->state(), v1::CompressionJob::CANCELLING);
  };
  coordinator->RunPublishing();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::SUCCEEDED);
}

TEST_F(CoordinatorRun, AJobWithoutOutputHasNoStaging) {
  Submission submission = Request("a", 1);
  submission.job.clear_output();
  ASSERT_TRUE(coordinator->Submit(submission).ok());
  ASSERT_TRUE(w1.TakeUp());
  EXPECT_EQ(w1.assignment().staging_uri(), "");
  w1.EndPhase("calibration-tokens", 1);
  w1.Finish(0);  // there is nowhere it could lie
  EXPECT_EQ(Get("a").progress().blocks_done(), 0);
  w1.End(absl::OkStatus());
  coordinator->RunPublishing();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::SUCCEEDED);
  EXPECT_TRUE(publisher.swept.empty());
}

TEST_F(CoordinatorRun, WhatAWorkerSaysHasBounds) {
  Submit("a");
  StartTwo();
  const std::string staging = w1.assignment().staging_uri();
  const auto finish = [&](int index, const std::string& uri) {
    auto* block = w1.stage().add_finished_blocks();
    block->set_index(index);
    block->set_uri(uri);
    EXPECT_TRUE(w1.Sync().ok());
    return Get("a").progress().blocks_done();
  };
  EXPECT_EQ(finish(2, staging + "/b"), 0);  // of the other rank
  EXPECT_EQ(finish(-1, staging + "/b"), 0);
  EXPECT_EQ(finish(9, staging + "/b"), 0);
  EXPECT_EQ(finish(0, "/etc/passwd"), 0);
  EXPECT_EQ(finish(0, staging + "/../../../x"), 0);
  EXPECT_EQ(finish(0, staging + "/b"), 1);
  w1.Phase("compress", 0.1, std::string(100000, 'x'));
  EXPECT_LT(Get("a").progress().message().size(), 1000u);

  FakeWorker nobody(coordinator, "");
  EXPECT_EQ(nobody.Sync().code(), absl::StatusCode::kInvalidArgument);
  FakeWorker strange(coordinator, "w-3", std::string(1000, 's'));
  strange.request().mutable_capabilities()->set_device("tpu");
  const absl::Status refused = strange.Sync();
  EXPECT_EQ(Violations(refused).size(), 2u) << refused;
}

TEST_F(CoordinatorRun, NoWorkIsToldThatTheStoreDoesNotKnow) {
  Submit("a", 1);
  store->down = true;
  EXPECT_EQ(w1.Sync().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(w1.assigned());
  store->down = false;
  ASSERT_TRUE(w1.TakeUp());
  EXPECT_EQ(w1.assignment().attempt(), 1);
  // A report that could not be written is not forgotten.
  store->down = true;
  auto* block = w1.stage().add_finished_blocks();
  block->set_index(0);
  block->set_uri(w1.assignment().staging_uri() + "/b");
  EXPECT_EQ(w1.Sync().code(), absl::StatusCode::kUnavailable);
  store->down = false;
  Pass(1);
  EXPECT_EQ(store->LoadActive()->at(0).blocks.size(), 1u);
  EXPECT_THAT(Messages("a"), Contains("block 0 finished"));
}

class CoordinatorRestart : public CoordinatorRun {
 protected:
  std::string StorePath() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              (std::string("coordinator-") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    if (!made_) std::filesystem::remove_all(folder_);
    made_ = true;
    std::filesystem::create_directories(folder_);
    return (folder_ / "jobs.db").string();
  }
  void TearDown() override {
    coordinator.reset();
    store.reset();
    std::filesystem::remove_all(folder_);
  }

  void Restart() {
    coordinator.reset();
    store.reset();
    SetUp();
  }

  std::filesystem::path folder_;
  bool made_ = false;
};

TEST_F(CoordinatorRestart, RunningJobsGoOnWithoutANewAttempt) {
  Submit("a");
  StartTwo();
  Submit("b", 1);
  w1.EndPhase("calibration-tokens", 1);
  w1.Phase("compress", 0.5);
  w1.Finish(0);
  const std::string token = w1.assignment().lease_token();
  const size_t events = Events("a").size();
  Restart();
  clock.Pass(10);
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::RUNNING);
  EXPECT_EQ(Get("a").progress().blocks_done(), 1);
  EXPECT_EQ(Get("b").state(), v1::CompressionJob::QUEUED);
  EXPECT_EQ(coordinator->Workers().size(), 2u);
  ASSERT_TRUE(w1.Sync().ok());
  EXPECT_EQ(w1.assignment().lease_token(), token);
  EXPECT_EQ(w1.assignment().finished_blocks_size(), 0);
  ASSERT_TRUE(w2.Sync().ok());
  ASSERT_TRUE(w2.assigned());
  EXPECT_EQ(Get("a").attempt(), 1);
  EXPECT_EQ(Events("a").size(), events);
  w1.Finish(1);
  EXPECT_EQ(Events("a").back().sequence(), static_cast<int64_t>(events + 1));
  w2.Finish(2);
  w2.Finish(3);
  w1.End(absl::OkStatus());
  // Once more, now with one rank done.
  Restart();
  w2.End(absl::OkStatus());
  coordinator->RunPublishing();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::SUCCEEDED);
  EXPECT_EQ(publisher.calls[0].blocks.size(), 4u);
  // The one heard of since the restart is free for the next job.
  w2.GoIdle();
  EXPECT_EQ(w2.assignment().job_name(), "compressionJobs/b");
}

TEST_F(CoordinatorRestart, WorkersThatDoNotComeBackAreLostAfterAFullLease) {
  Submit("a");
  StartTwo();
  Restart();
  Pass(14.9);
  EXPECT_EQ(Get("a").attempts_lost(), 0);
  ASSERT_TRUE(w1.Sync().ok());
  Pass(0.2);
  ASSERT_TRUE(w1.Sync().ok());
  EXPECT_FALSE(w1.assigned());
  w1.GoIdle();
  EXPECT_EQ(Get("a").attempts_lost(), 1);
}

TEST_F(CoordinatorRestart, PublishesAgain) {
  Submit("a", 1);
  ASSERT_TRUE(w1.TakeUp());
  w1.stage().mutable_outcome()->add_shards()->set_file("model.safetensors");
  w1.End(absl::OkStatus());
  Restart();
  coordinator->RunPublishing();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::SUCCEEDED);
  EXPECT_EQ(publisher.calls.at(0).outcomes.at(0).shards(0).file(), "model.safetensors");
}

TEST_F(CoordinatorRestart, SweepsWhatWasLeft) {
  Submit("a", 1);
  ASSERT_TRUE(w1.TakeUp());
  w1.End(UserError(reason::kInvalidCalibrationData, "too little text"));
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::FAILED);
  Restart();
  coordinator->RunPublishing();
  EXPECT_THAT(publisher.swept, ElementsAre("compressionJobs/a"));
  Restart();
  coordinator->RunPublishing();
  EXPECT_EQ(publisher.swept.size(), 1u);
}

TEST_F(CoordinatorRestart, SweepsAgainWhatCouldNotBeSwept) {
  Submit("a", 1);
  ASSERT_TRUE(w1.TakeUp());
  w1.End(UserError(reason::kInvalidCalibrationData, "too little text"));
  publisher.sweep_failures.assign(1, EnvironmentError(reason::kStorageUnavailable, "the store does not answer"));
  coordinator->RunPublishing();
  Restart();
  coordinator->RunPublishing();
  EXPECT_EQ(publisher.swept.size(), 2u);
  Restart();
  coordinator->RunPublishing();
  EXPECT_EQ(publisher.swept.size(), 2u);
}

TEST_F(CoordinatorRestart, SweepsWhatADeletedJobLeft) {
  Submit("a", 1);
  ASSERT_TRUE(w1.TakeUp());
  ASSERT_TRUE(coordinator->Cancel("compressionJobs/a", "").ok());
  w1.GoIdle();
  ASSERT_TRUE(coordinator->Delete("compressionJobs/a").ok());
  Restart();
  coordinator->RunPublishing();
  EXPECT_THAT(publisher.swept, ElementsAre("compressionJobs/a"));
  Restart();
  coordinator->RunPublishing();
  EXPECT_EQ(publisher.swept.size(), 1u);
}

TEST_F(CoordinatorRestart, ACancelIsRemembered) {
  Submit("a");
  StartTwo();
  ASSERT_TRUE(coordinator->Cancel("compressionJobs/a", "").ok());
  Restart();
  ASSERT_TRUE(w1.Sync().ok());
  EXPECT_FALSE(w1.assigned());
  w1.GoIdle();
  w2.GoIdle();
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::CANCELLED);
}

TEST_F(CoordinatorRestart, RequestIdsAreRemembered) {
  Submission submission = Request("a");
  submission.request_id = "r";
  submission.request_digest = "d";
  ASSERT_TRUE(coordinator->Submit(submission).ok());
  Restart();
  EXPECT_EQ(coordinator->Submit(submission)->name(), "compressionJobs/a");
}

TEST_F(CoordinatorRun, ItsOwnThreadsTickAndPublish) {
  options.tick_seconds = 0.01;
  StartCoordinator();
  coordinator->Start();
  Submit("a", 1);
  ASSERT_TRUE(w1.TakeUp());
  w1.End(absl::OkStatus());
  for (int i = 0; i < 500 && Get("a").state() != v1::CompressionJob::SUCCEEDED; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(Get("a").state(), v1::CompressionJob::SUCCEEDED);
  coordinator->Stop();
  EXPECT_THAT(publisher.swept, ElementsAre("compressionJobs/a"));
}

}  // namespace
}  // namespace calipress::fleet
