// The decorators around a stage, and the engine's executor where it needs no engine.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <stdexcept>

#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/metrics.h"
#include "worker/stage/classified_executor.h"
#include "worker/stage/engine_executor.h"
#include "worker/stage/logged_executor.h"
#include "worker/stage/metered_executor.h"

namespace calipress::worker {
namespace {

using Outcome = absl::StatusOr<worker::v1::StageOutcome>;

class Scripted : public StageExecutor {
 public:
  using Body = std::function<Outcome(engine::StageObserver& observer)>;
  explicit Scripted(Body body) : body_(std::move(body)) {}
  Outcome Execute(const worker::v1::Assignment&, engine::StageObserver& observer, const CancellationToken&) override {
    return body_(observer);
  }

 private:
  Body body_;
};

class Silent : public engine::StageObserver {
 public:
  void OnProgress(const std::string&, double, const std::string&) override { ++heard; }
  void OnBlockFinished(const worker::v1::FinishedBlock&) override { ++heard; }
  void OnPhaseFinished(const calipress::v1::PhaseReport&) override { ++heard; }
  void OnRunFinished(const worker::v1::FinishedRun&) override { ++heard; }
  void OnRunKept(const worker::v1::KeptRun&) override { ++heard; }
  int heard = 0;
};

Outcome RunOne(StageExecutor& executor, const CancellationToken& token = CancellationToken(),
               const worker::v1::Assignment& assignment = {}) {
  Silent observer;
  return executor.Execute(assignment, observer, token);
}

// The value of a counter, or the number of a histogram's observations; -1 where there is no such series.
double Value(const std::string& family, const std::map<std::string, std::string>& labels) {
  for (const auto& metric_family : Metrics().Collect()) {
    if (metric_family.name != family) continue;
    for (const auto& metric : metric_family.metric) {
      std::map<std::string, std::string> has;
      for (const auto& label : metric.label) has[label.name] = label.value;
      if (has != labels) continue;
      return metric_family.type == prometheus::MetricType::Histogram
                 ? static_cast<double>(metric.histogram.sample_count)
                 : metric.counter.value;
    }
  }
  return -1;
}

TEST(ClassifiedExecutorTest, AnExceptionIsADefectAndDoesNotEscape) {
  auto executor = ClassifyFailures(
      std::make_unique<Scripted>([](auto&) -> Outcome { throw std::runtime_error("index out of range"); }));
  const auto outcome = RunOne(*executor);
  EXPECT_EQ(ErrorReason(outcome.status()), reason::kInternal);
  EXPECT_EQ(ErrorClassOf(outcome.status()), ErrorClass::kDefect);
  EXPECT_NE(outcome.status().message().find("index out of range"), std::string::npos);
}

TEST(ClassifiedExecutorTest, ACancellationIsNotHiddenByWhatFollowsFromIt) {
  CancellationToken token;
  auto executor = ClassifyFailures(std::make_unique<Scripted>([&](auto&) -> Outcome {
    token.Cancel(absl::CancelledError("the coordinator stopped the stage"));
    return EnvironmentError(reason::kPeerLost, "receiving from rank 0: ended");
  }));
  const auto outcome = RunOne(*executor, token);
  EXPECT_EQ(ErrorReason(outcome.status()), reason::kCancelled);
  EXPECT_EQ(outcome.status().message(), "the coordinator stopped the stage");
}

TEST(ClassifiedExecutorTest, KeepsWhatIsClassifiedAlready) {
  const absl::Status cause = ViolationsError(reason::kInvalidRecipe, {{"a", "is wrong"}});
  auto executor = ClassifyFailures(std::make_unique<Scripted>([&](auto&) -> Outcome { return cause; }));
  EXPECT_EQ(RunOne(*executor).status(), cause);
}

TEST(MeteredExecutorTest, CountsWhatCameOutAndHowItEnded) {
  worker::v1::Assignment assignment;
  assignment.mutable_recipe()->add_steps()->mutable_gptq();
  assignment.mutable_recipe()->mutable_calibration()->add_sources()->mutable_text();
  bool fail = false;
  auto executor = MeterStages(std::make_unique<Scripted>([&](engine::StageObserver& observer) -> Outcome {
    observer.OnProgress("compress", 0, "");
    worker::v1::FinishedBlock block;
    auto* linear = block.add_linears();
    linear->set_method("gptq");
    linear->set_relative_error(0.01);
    block.add_linears()->set_method("rtn (fallback)");
    block.add_linears()->set_method("wanda + gptq");
    block.add_linears()->set_method("sparsegpt (fallback) + rtn");
    observer.OnBlockFinished(block);
    if (fail) return EnvironmentError(reason::kStorageFull, "no space");
    calipress::v1::PhaseReport phase;
    phase.set_name("compress");
    phase.set_seconds(2);
    observer.OnPhaseFinished(phase);
    observer.OnRunFinished({});
    observer.OnRunKept({});
    observer.OnProgress("assemble", 0, "");
    return worker::v1::StageOutcome();
  }));
  Silent observer;
  ASSERT_TRUE(executor->Execute(assignment, observer, CancellationToken()).ok());
  EXPECT_EQ(observer.heard, 6) << "everything is handed on";
  fail = true;
  ASSERT_FALSE(RunOne(*executor, CancellationToken(), assignment).ok());
  CancellationToken cancelled;
  cancelled.Cancel(absl::CancelledError("stop"));
  ASSERT_FALSE(RunOne(*executor, cancelled, assignment).ok());

  const std::string attempts = "calipress_stage_attempts_total";
  EXPECT_EQ(Value(attempts, {{"phase", "assemble"}, {"outcome", "succeeded"}, {"reason", "none"}}), 1);
  EXPECT_EQ(Value(attempts, {{"phase", "compress"}, {"outcome", "failed"}, {"reason", "STORAGE_FULL"}}), 1);
  EXPECT_EQ(Value(attempts, {{"phase", "compress"}, {"outcome", "cancelled"}, {"reason", "STORAGE_FULL"}}), 1);
  EXPECT_EQ(Value("calipress_stage_duration_seconds", {{"phase", "compress"}, {"method", "gptq"}}), 1);
  EXPECT_EQ(Value("calipress_layers_compressed_total", {{"method", "gptq"}}), 3);
  EXPECT_EQ(Value("calipress_layers_compressed_total", {{"method", "rtn"}}), 3);
  EXPECT_EQ(Value("calipress_layers_compressed_total", {{"method", "wanda+gptq"}}), 3);
  EXPECT_EQ(Value("calipress_layers_compressed_total", {{"method", "sparsegpt+rtn"}}), 3);
  EXPECT_EQ(Value("calipress_layers_compressed_total", {{"method", "wanda"}}), -1);
  EXPECT_EQ(Value("calipress_study_runs_total", {{"outcome", "succeeded"}}), 1);
  EXPECT_EQ(Value("calipress_study_runs_total", {{"outcome", "failed"}}), 0) << "known from the start";
}

TEST(LoggedExecutorTest, EveryLineSaysWhichStageItIs) {
  const auto path = std::filesystem::temp_directory_path() / ("executors_test_" + std::to_string(getpid()) + ".log");
  ASSERT_TRUE(StartLogging("test", "info", path.string()));
  worker::v1::Assignment assignment;
  assignment.set_job_name("jobs/tiny");
  assignment.set_rank(1);
  assignment.set_attempt(4);
  auto executor = LogStages(std::make_unique<Scripted>([](auto&) -> Outcome {
                              LogInfo("from inside");
                              return EnvironmentError(reason::kStorageFull, "no space on device");
                            }),
                            "worker-7");
  ASSERT_FALSE(RunOne(*executor, CancellationToken(), assignment).ok());
  LogInfo("from outside");
  StartLogging("test", "info");

  std::ifstream file(path);
  int lines = 0;
  std::string all;
  for (std::string line; std::getline(file, line); ++lines) {
    all += line + "\n";
    const bool scoped = line.find("job=jobs/tiny stage=1 attempt=4 worker=worker-7") != std::string::npos;
    EXPECT_EQ(scoped, line.find("from outside") == std::string::npos) << line;
  }
  EXPECT_EQ(lines, 4) << all;
  EXPECT_NE(all.find("reason=STORAGE_FULL class=environment message=\"no space on device\""), std::string::npos) << all;
  std::filesystem::remove(path);
}

TEST(EngineExecutorTest, RefusesAStageForAnotherDevice) {
  auto store = storage::OpenObjectStore();
  auto executor = MakeEngineExecutor(EngineOptions(), store.get());
  worker::v1::Assignment assignment;
  assignment.set_device("cuda");
  assignment.set_world_size(1);
  EXPECT_EQ(ErrorReason(RunOne(*executor, CancellationToken(), assignment).status()), reason::kDeviceUnavailable);
}

TEST(EngineExecutorTest, AMissingModelIsTheUsersError) {
  auto store = storage::OpenObjectStore();
  auto executor = ClassifyFailures(MakeEngineExecutor(EngineOptions(), store.get()));
  worker::v1::Assignment assignment;
  assignment.set_device("cpu");
  assignment.set_world_size(1);
  assignment.set_model_uri((std::filesystem::temp_directory_path() / "there-is-no-such-model").string());
  const auto outcome = RunOne(*executor, CancellationToken(), assignment);
  EXPECT_EQ(ErrorReason(outcome.status()), reason::kSourceModelNotFound) << outcome.status();
  EXPECT_EQ(ErrorClassOf(outcome.status()), ErrorClass::kUser);
}

}  // namespace
}  // namespace calipress::worker
