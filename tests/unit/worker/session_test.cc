#include "worker/session/session.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "compress/base/error.h"
#include "google/rpc/error_details.pb.h"

namespace calipress::worker {
namespace {

using worker::v1::SynchronizeRequest;
using worker::v1::SynchronizeResponse;

constexpr double kPatience = 20;

// Answers by a function that the test gives, and keeps every request.
class FakeChannel : public WorkerChannel {
 public:
  using Answer = std::function<absl::StatusOr<SynchronizeResponse>(const SynchronizeRequest&)>;

  void AnswerWith(Answer answer) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }

  absl::StatusOr<SynchronizeResponse> Synchronize(const SynchronizeRequest& request, double) override {
    std::lock_guard lock(mutex_);
    requests_.push_back(request);
    changed_.notify_all();
    return answer_(request);
  }

  // The first request that matches; fails the test where none comes.
  SynchronizeRequest Await(const std::function<bool(const SynchronizeRequest&)>& matches) {
    std::unique_lock lock(mutex_);
    size_t next = 0;
    const auto found = [&] {
      for (; next < requests_.size(); ++next) {
        if (matches(requests_[next])) return true;
      }
      return false;
    };
    const bool came = changed_.wait_for(lock, std::chrono::duration<double>(kPatience), found);
    EXPECT_TRUE(came) << "no such request came";
    return came ? requests_[next] : SynchronizeRequest();
  }

  // Forgets what has come, so that Await sees what comes from now on.
  void Forget() {
    std::lock_guard lock(mutex_);
    requests_.clear();
  }
  std::deque<SynchronizeRequest> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<SynchronizeRequest> requests_;
  Answer answer_;
};

// Runs until it is told the end, or is cancelled.
class FakeExecutor : public StageExecutor {
 public:
  absl::StatusOr<worker::v1::StageOutcome> Execute(const worker::v1::Assignment& assignment,
                                                   engine::StageObserver& observer,
                                                   const CancellationToken& cancellation) override {
    std::unique_lock lock(mutex_);
    EXPECT_FALSE(busy_) << "two stages at once";
    busy_ = true;
    started_.push_back(assignment.lease_token());
    observer.OnProgress("compress", 0.5, "block 3");
    worker::v1::FinishedBlock block;
    block.set_index(3);
    observer.OnBlockFinished(block);
    calipress::v1::PhaseReport phase;
    phase.set_name("calibration-tokens");
    observer.OnPhaseFinished(phase);
    worker::v1::FinishedRun run;
    run.mutable_report()->set_error("no token \xC3");
    observer.OnRunFinished(run);
    std::shared_ptr<void> registration;
    if (!deaf_) {
      registration = cancellation.OnCancel([this] { changed_.notify_all(); });
    }
    changed_.wait_for(lock, std::chrono::duration<double>(kPatience), [&] {
      lock.unlock();
      const bool cancelled = !deaf_ && cancellation.cancelled();
      lock.lock();
      return cancelled || end_.has_value();
    });
    if (slow_to_stop_ && !end_) {
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(400));
      lock.lock();
    }
    busy_ = false;
    if (!end_) return cancellation.status();
    const absl::Status end = *end_;
    end_.reset();
    if (!end.ok()) return end;
    worker::v1::StageOutcome outcome;
    outcome.set_peak_memory_bytes(77);
    outcome.add_warnings("in line \xFF");
    return outcome;
  }

  void End(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    end_ = status;
    changed_.notify_all();
  }
  void set_deaf() { deaf_ = true; }
  void set_slow_to_stop() { slow_to_stop_ = true; }
  std::vector<std::string> started() {
    std::lock_guard lock(mutex_);
    return started_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool busy_ = false;
  std::atomic<bool> deaf_ = false;
  bool slow_to_stop_ = false;
  std::optional<absl::Status> end_;
  std::vector<std::string> started_;
};

SynchronizeResponse Idle() {
  SynchronizeResponse response;
  response.mutable_next_synchronize()->set_nanos(10'000'000);
  return response;
}

SynchronizeResponse Do(const std::string& lease) {
  SynchronizeResponse response = Idle();
  response.mutable_assignment()->set_job_uid("job-of-" + lease);
  response.mutable_assignment()->set_attempt(2);
  response.mutable_assignment()->set_lease_token(lease);
  return response;
}

class SessionTest : public ::testing::Test {
 protected:
  ~SessionTest() override {
    executor_.End(absl::OkStatus());
    if (runner_.joinable()) {
      session_->Drain();
      runner_.join();
    }
  }

  void Start(double drain_seconds = 0.3, double give_up_seconds = 5) {
    SessionOptions options;
    options.worker_id = "worker-1";
    options.capabilities.set_device("cpu");
    options.capabilities.set_threads(3);
    options.drain_seconds = drain_seconds;
    options.give_up_seconds = give_up_seconds;
    session_ = std::make_unique<Session>(options, &channel_, &executor_);
    runner_ = std::jthread([this] { clean_ = session_->Run(); });
  }
  bool AwaitEnd() {
    runner_.join();
    return clean_;
  }

  FakeChannel channel_;
  FakeExecutor executor_;
  std::unique_ptr<Session> session_;
  bool clean_ = false;
  std::jthread runner_;
};

bool Works(const SynchronizeRequest& request) { return request.has_stage() && !request.stage().has_outcome(); }
bool Ended(const SynchronizeRequest& request) { return request.stage().has_outcome(); }
bool IsIdle(const SynchronizeRequest& request) { return !request.has_stage(); }

TEST_F(SessionTest, ReportsTheWholeStageAndThenItsOutcomeUntilItIsTakenIn) {
  int outcomes = 0;
  channel_.AnswerWith([&](const SynchronizeRequest& request) -> absl::StatusOr<SynchronizeResponse> {
    if (Ended(request)) ++outcomes;
    // Taken in at the third time; then there is nothing more to do.
    return outcomes >= 3 ? Idle() : Do("lease-1");
  });
  Start();
  const auto hello = channel_.Await(IsIdle);
  EXPECT_EQ(hello.worker_id(), "worker-1");
  EXPECT_EQ(hello.capabilities().threads(), 3);
  EXPECT_FALSE(hello.session_id().empty());
  EXPECT_FALSE(hello.draining());

  const auto report =
      channel_.Await([](const SynchronizeRequest& request) { return Works(request) && request.stage().phases_size(); });
  EXPECT_EQ(report.session_id(), hello.session_id());
  EXPECT_EQ(report.stage().job_uid(), "job-of-lease-1");
  EXPECT_EQ(report.stage().attempt(), 2);
  EXPECT_EQ(report.stage().lease_token(), "lease-1");
  EXPECT_EQ(report.stage().phase(), "compress");
  EXPECT_EQ(report.stage().message(), "block 3");
  EXPECT_EQ(report.stage().fraction(), 0.5);
  ASSERT_EQ(report.stage().finished_blocks_size(), 1);
  EXPECT_EQ(report.stage().finished_blocks(0).index(), 3);
  EXPECT_EQ(report.stage().phases(0).name(), "calibration-tokens");

  executor_.End(absl::OkStatus());
  const auto end = channel_.Await(Ended);
  EXPECT_EQ(end.stage().outcome().status().code(), 0);
  EXPECT_EQ(end.stage().outcome().peak_memory_bytes(), 77);
  EXPECT_EQ(end.stage().finished_blocks_size(), 1) << "the last report has the blocks too";
  SynchronizeRequest received;
  ASSERT_TRUE(received.ParseFromString(end.SerializeAsString())) << "malformed strings make a report unreadable";
  EXPECT_EQ(received.stage().outcome().warnings(0), "in line ?");
  EXPECT_EQ(received.stage().finished_runs(0).report().error(), "no token ?");
  channel_.Forget();
  channel_.Await(IsIdle);
  EXPECT_EQ(outcomes, 3);
  EXPECT_EQ(executor_.started(), std::vector<std::string>{"lease-1"}) << "an ended stage must not start again";
}

TEST_F(SessionTest, AFailureCarriesReasonClassAndViolations) {
  channel_.AnswerWith([](const SynchronizeRequest& request) -> absl::StatusOr<SynchronizeResponse> {
    return Ended(request) ? Idle() : Do("lease-1");
  });
  Start();
  channel_.Await(Works);
  executor_.End(ViolationsError(reason::kInvalidRecipe, {{"recipe.steps[0]", "does not divide"}}));
  const auto report = channel_.Await(Ended);
  const google::rpc::Status& status = report.stage().outcome().status();
  EXPECT_EQ(status.code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  ASSERT_EQ(status.details_size(), 2);
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(status.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "INVALID_RECIPE");
  EXPECT_EQ(info.domain(), "calipress.dev");
  EXPECT_EQ(info.metadata().at("class"), "user");
  google::rpc::BadRequest violations;
  ASSERT_TRUE(status.details(1).UnpackTo(&violations));
  EXPECT_EQ(violations.field_violations(0).field(), "recipe.steps[0]");
}

TEST_F(SessionTest, AnotherLeaseStopsTheStageAndWaitsForItsEnd) {
  std::atomic<bool> second = false;
  channel_.AnswerWith([&](const SynchronizeRequest&) -> absl::StatusOr<SynchronizeResponse> {
    return Do(second ? "lease-2" : "lease-1");
  });
  executor_.set_slow_to_stop();
  Start();
  channel_.Await(Works);
  second = true;
  // While the first winds down it is what the worker is doing. FakeExecutor fails where the two overlap.
  channel_.Await([](const SynchronizeRequest& request) { return request.stage().lease_token() == "lease-2"; });
  EXPECT_EQ(executor_.started(), (std::vector<std::string>{"lease-1", "lease-2"}));
}

TEST_F(SessionTest, NoAssignmentStopsTheStage) {
  std::atomic<bool> stop = false;
  channel_.AnswerWith(
      [&](const SynchronizeRequest&) -> absl::StatusOr<SynchronizeResponse> { return stop ? Idle() : Do("lease-1"); });
  Start();
  channel_.Await(Works);
  stop = true;
  channel_.Forget();
  channel_.Await(IsIdle);
  EXPECT_EQ(executor_.started().size(), 1u);
}

TEST_F(SessionTest, WorksOnWhileTheCoordinatorIsAwayAndReportsWhenItIsBack) {
  std::atomic<bool> away = false;
  channel_.AnswerWith([&](const SynchronizeRequest& request) -> absl::StatusOr<SynchronizeResponse> {
    if (away) return absl::UnavailableError("connection refused");
    return Ended(request) ? Idle() : Do("lease-1");
  });
  Start();
  channel_.Await(Works);
  away = true;
  channel_.Forget();
  channel_.Await(Works);
  executor_.End(absl::OkStatus());
  channel_.Await(Ended);
  EXPECT_EQ(executor_.started().size(), 1u);
  away = false;
  channel_.Forget();
  // Nobody had taken the outcome in: it is there still.
  const auto report = channel_.Await(Ended);
  EXPECT_EQ(report.stage().outcome().status().code(), 0);
  channel_.Await(IsIdle);
}

TEST_F(SessionTest, DrainingWhenIdleSaysSoOnceMoreAndEnds) {
  channel_.AnswerWith([](const SynchronizeRequest&) -> absl::StatusOr<SynchronizeResponse> { return Idle(); });
  Start();
  channel_.Await(IsIdle);
  session_->Drain();
  EXPECT_TRUE(AwaitEnd());
  EXPECT_TRUE(channel_.requests().back().draining());
  EXPECT_FALSE(channel_.requests().back().has_stage());
}

TEST_F(SessionTest, DrainingLetsTheStageFinishAndReportsIt) {
  channel_.AnswerWith([](const SynchronizeRequest& request) -> absl::StatusOr<SynchronizeResponse> {
    return Ended(request) ? Idle() : Do("lease-1");
  });
  Start(/*drain_seconds=*/kPatience);
  channel_.Await(Works);
  session_->Drain();
  channel_.Await([](const SynchronizeRequest& request) { return Works(request) && request.draining(); });
  executor_.End(absl::OkStatus());
  EXPECT_TRUE(AwaitEnd());
  EXPECT_EQ(channel_.Await(Ended).stage().outcome().status().code(), 0);
  EXPECT_TRUE(IsIdle(channel_.requests().back()));
}

TEST_F(SessionTest, DrainingGivesALongStageUpAndSaysSo) {
  channel_.AnswerWith([](const SynchronizeRequest&) -> absl::StatusOr<SynchronizeResponse> { return Do("lease-1"); });
  Start(/*drain_seconds=*/0.2);
  channel_.Await(Works);
  session_->Drain();
  EXPECT_TRUE(AwaitEnd());
  const auto last = channel_.requests().back();
  EXPECT_TRUE(last.draining());
  // The scheduler takes CANCELLED for a worker that leaves, not for a failed attempt.
  EXPECT_EQ(last.stage().outcome().status().code(), static_cast<int>(absl::StatusCode::kCancelled));
  EXPECT_EQ(last.stage().finished_blocks_size(), 1);
}

TEST_F(SessionTest, AStageThatDoesNotStopDoesNotHoldTheDrainUp) {
  channel_.AnswerWith([](const SynchronizeRequest&) -> absl::StatusOr<SynchronizeResponse> { return Do("lease-1"); });
  executor_.set_deaf();
  Start(/*drain_seconds=*/0.1, /*give_up_seconds=*/0.1);
  channel_.Await(Works);
  session_->Drain();
  EXPECT_FALSE(AwaitEnd());
}

TEST_F(SessionTest, DrainingTakesNoNewWork) {
  channel_.AnswerWith([&](const SynchronizeRequest& request) -> absl::StatusOr<SynchronizeResponse> {
    if (request.draining()) return Do("lease-2");  // crossed with the drain
    return Idle();
  });
  Start();
  channel_.Await(IsIdle);
  session_->Drain();
  EXPECT_TRUE(AwaitEnd());
  EXPECT_TRUE(executor_.started().empty());
}

TEST(SessionIdTest, EveryLifeHasItsOwn) {
  std::set<std::string> ids;
  for (int life = 0; life < 3; ++life) {
    FakeChannel channel;
    FakeExecutor executor;
    channel.AnswerWith([](const SynchronizeRequest&) -> absl::StatusOr<SynchronizeResponse> { return Idle(); });
    Session session(SessionOptions{.worker_id = "worker-1"}, &channel, &executor);
    session.Drain();
    EXPECT_TRUE(session.Run());
    ids.insert(channel.requests().back().session_id());
  }
  EXPECT_EQ(ids.size(), 3u);
}

}  // namespace
}  // namespace calipress::worker
