// Lost workers, failures, cancels and restarts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/server/scheduler/testing_fleet.h"

namespace calipress::scheduler {
namespace {

using Kind = Decision::Kind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A fleet in which job "a" (6 blocks) runs on w-1 and w-2.
class Running : public ::testing::Test {
 protected:
  explicit Running(int workers = 2) { Begin(workers); }

  void Begin(int workers) {
    fleet.Idle("w-1");
    fleet.Idle("w-2");
    fleet.Add("a", 6, workers);
    t1 = fleet.Idle("w-1").token;
    t2 = fleet.Idle("w-2").token;
    fleet.Working("w-1", t1);
    fleet.Working("w-2", t2);
    fleet.Decided();
  }

  std::string Message() const { return std::string(fleet.last().back().cause.message()); }

  Fleet fleet;
  std::string t1;
  std::string t2;
};

TEST_F(Running, AWorkerLostIsFencedAndTheJobGoesOnWithTheOneLeft) {
  for (int second = 0; second < 14; ++second) {
    fleet.Pass(1);
    EXPECT_EQ(fleet.Working("w-1", t1).token, t1);
    fleet.scheduler().Tick(fleet.now());
  }
  EXPECT_THAT(fleet.Decided(), IsEmpty());
  fleet.Pass(1);
  fleet.scheduler().Tick(fleet.now());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping));
  EXPECT_EQ(fleet.scheduler().leases_expired(), 1);
  // w-1 is told to stop, and the next attempt waits until it has.
  EXPECT_EQ(fleet.Working("w-1", t1).token, "");
  EXPECT_THAT(fleet.Decided(), IsEmpty());
  fleet.Idle("w-1");
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptEnded));
  EXPECT_EQ(fleet.last()[0].outcome, AttemptOutcome::kLost);
  EXPECT_EQ(fleet.last()[0].attempts_lost, 1);
  EXPECT_EQ(Message(), "worker w-2 was lost");
  // A short grace, in which w-2 may come back.
  fleet.Pass(4.9);
  EXPECT_EQ(fleet.Idle("w-1").job, "");
  fleet.Pass(0.2);
  const Fleet::Order order = fleet.Idle("w-1");
  EXPECT_EQ(order.attempt, 2);
  EXPECT_EQ(order.end_block, 6);
  // The zombie is not listened to; with the gang of one running, it is idle.
  const Fleet::Order zombie = fleet.Working("w-2", t2);
  EXPECT_FALSE(zombie.accepted);
  EXPECT_EQ(zombie.token, "");
}

TEST_F(Running, AWorkerThatComesBackInTimeTakesPartAgain) {
  WorkerReport reborn = fleet.Words("w-2");
  reborn.worker.session_id = "w-2-life-2";
  EXPECT_EQ(fleet.Send(reborn).token, "");
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping));
  fleet.Pass(1);
  fleet.Send(reborn);
  fleet.Idle("w-1");
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptEnded, Kind::kAttemptStarted));
  EXPECT_EQ(fleet.last()[1].attempts_lost, 1);
  EXPECT_EQ(fleet.Send(reborn).rank, 1);
  // The first life cannot take the name back.
  const Fleet::Order first_life = fleet.Working("w-2", t2);
  EXPECT_FALSE(first_life.accepted);
  EXPECT_EQ(first_life.token, "");
  EXPECT_EQ(fleet.Send(reborn).rank, 1);
  EXPECT_THAT(fleet.Decided(), IsEmpty());
}

TEST_F(Running, WaitsWhenNoWorkerIsLeft) {
  fleet.Pass(15);
  fleet.scheduler().Tick(fleet.now());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping, Kind::kAttemptEnded));
  EXPECT_EQ(Message(), "workers w-1, w-2 were lost");
  fleet.Pass(100);
  fleet.scheduler().Tick(fleet.now());
  EXPECT_THAT(fleet.Decided(), IsEmpty());
  EXPECT_EQ(fleet.Idle("w-9").attempt, 2);
}

TEST_F(Running, AUsersFailureFailsTheJobOnceAllHaveStopped) {
  fleet.Ended("w-2", t2, UserError(reason::kInvalidCalibrationData, "the text is empty"));
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping));
  EXPECT_EQ(fleet.Working("w-1", t1).token, "");
  EXPECT_THAT(fleet.Decided(), IsEmpty());
  fleet.Idle("w-1");
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kJobFailed));
  EXPECT_EQ(ErrorReason(fleet.last()[0].cause), reason::kInvalidCalibrationData);
  EXPECT_EQ(fleet.scheduler().Find("a"), nullptr);
}

TEST_F(Running, TheRootOfAFailureDecidesNotTheFirstReport) {
  fleet.Ended("w-1", t1, EnvironmentError(reason::kPeerLost, "connection closed by peer"));
  fleet.Ended("w-2", t2, UserError(reason::kNonFiniteWeights, "model.layers.4 has NaN"));
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping, Kind::kJobFailed));
  EXPECT_EQ(ErrorReason(fleet.last()[1].cause), reason::kNonFiniteWeights);
}

TEST_F(Running, PeerLostCountsAsLostWhenAPeerWasLost) {
  fleet.Pass(10);
  fleet.Ended("w-1", t1, EnvironmentError(reason::kPeerLost, "connection closed by peer"));
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping));
  fleet.Pass(5);
  fleet.Idle("w-1");
  fleet.scheduler().Tick(fleet.now());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptEnded));
  EXPECT_EQ(fleet.last()[0].attempts_lost, 1);
  EXPECT_EQ(fleet.last()[0].attempts_failed, 0);
  EXPECT_EQ(Message(), "worker w-2 was lost");
}

TEST_F(Running, PeerLostWithoutALossCountsAsFailed) {
  fleet.Ended("w-1", t1, EnvironmentError(reason::kPeerLost, "connection closed by peer"));
  fleet.Ended("w-2", t2, EnvironmentError(reason::kPeerLost, "connection closed by peer"));
  fleet.Decided();
  EXPECT_EQ(fleet.last().back().attempts_failed, 1);
  EXPECT_EQ(fleet.last().back().attempts_lost, 0);
}

TEST_F(Running, FailedAttemptsPauseAndAreBounded) {
  std::string first = t1;
  std::string second = t2;
  for (int failure = 1; failure <= 2; ++failure) {
    fleet.Ended("w-1", first, EnvironmentError(reason::kStorageUnavailable, "the store is down"));
    fleet.Idle("w-2");
    fleet.Decided();
    EXPECT_EQ(fleet.last().back().kind, Kind::kAttemptEnded);
    EXPECT_EQ(fleet.last().back().attempts_failed, failure);
    fleet.Pass(failure == 1 ? 1.9 : 3.9);
    fleet.Idle("w-2");
    EXPECT_EQ(fleet.Idle("w-1").job, "");
    EXPECT_EQ(fleet.scheduler().WaitingFor("a", fleet.now()), "pauses before the next attempt");
    fleet.Pass(0.2);
    first = fleet.Idle("w-1").token;
    second = fleet.Idle("w-2").token;
    EXPECT_NE(first, "");
    EXPECT_NE(second, "");
  }
  fleet.Ended("w-2", second, DefectError("index out of range"));
  fleet.Idle("w-1");
  fleet.Decided();
  EXPECT_EQ(fleet.last().back().kind, Kind::kJobFailed);
  EXPECT_EQ(ErrorReason(fleet.last().back().cause), reason::kTooManyAttempts);
  EXPECT_EQ(Message(), "gave up after 3 failed attempts; the last one: worker w-2: index out of range");
}

TEST_F(Running, LostAttemptsAreBounded) {
  int lives = 1;
  for (int lost = 1; lost <= 10; ++lost) {
    WorkerReport reborn = fleet.Words("w-1");
    reborn.worker.session_id = "w-1-life-" + std::to_string(++lives);
    fleet.Send(reborn);
    fleet.Idle("w-2");
    fleet.Send(reborn);
    fleet.Decided();
    const Decision& ended = lost == 10 ? fleet.last().back() : fleet.last()[fleet.last().size() - 2];
    EXPECT_EQ(ended.attempts_lost, lost);
    EXPECT_EQ(ended.kind, lost == 10 ? Kind::kJobFailed : Kind::kAttemptEnded);
  }
  EXPECT_EQ(ErrorReason(fleet.last().back().cause), reason::kTooManyAttempts);
}

TEST_F(Running, CancelStopsEveryRankFirst) {
  fleet.scheduler().Cancel("a", fleet.now());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping));
  EXPECT_EQ(fleet.Working("w-1", t1).token, "");
  EXPECT_TRUE(fleet.Ended("w-1", t1, absl::CancelledError("stopped")).accepted);
  EXPECT_THAT(fleet.Decided(), IsEmpty());
  // w-2 does not answer any more: its lease has to expire.
  fleet.Pass(15);
  fleet.scheduler().Tick(fleet.now());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kJobCancelled));
}

TEST_F(Running, CancelOfAWaitingJobIsImmediate) {
  fleet.Add("b", 6, 2);
  fleet.scheduler().Cancel("b", fleet.now());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kJobCancelled));
  fleet.scheduler().Cancel("b", fleet.now());
  EXPECT_THAT(fleet.Decided(), IsEmpty());
}

TEST_F(Running, ADrainingWorkerFinishesOrGivesUp) {
  WorkerReport draining = fleet.Words("w-2");
  draining.worker.draining = true;
  draining.lease_token = t2;
  EXPECT_EQ(fleet.Send(draining).token, t2);  // it may finish
  draining.lease_token = "";
  EXPECT_EQ(fleet.Send(draining).token, "");
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping));
  fleet.Idle("w-1");
  fleet.Decided();
  EXPECT_EQ(fleet.last().back().outcome, AttemptOutcome::kLost);
}

TEST_F(Running, AStageCancelledByItsOwnWorkerIsALoss) {
  fleet.Ended("w-2", t2, absl::CancelledError("the worker is being stopped"));
  fleet.Idle("w-1");
  fleet.Decided();
  ASSERT_EQ(fleet.last()[1].kind, Kind::kAttemptEnded);
  EXPECT_EQ(fleet.last()[1].outcome, AttemptOutcome::kLost);
  EXPECT_EQ(fleet.last()[1].cause.message(), "worker w-2 was lost");
}

TEST_F(Running, ARestartedCoordinatorGoesOnWithLiveLeases) {
  const Job stored = *fleet.scheduler().Find("a");
  fleet.Restart();
  fleet.Pass(1000);
  fleet.scheduler().RestoreJob(stored, fleet.now());
  fleet.Add("b", 6, 1);
  fleet.Pass(14);
  const Fleet::Order order = fleet.Working("w-1", t1);
  EXPECT_TRUE(order.accepted);
  EXPECT_EQ(order.token, t1);
  EXPECT_EQ(order.attempt, 1);
  EXPECT_THAT(fleet.Decided(), IsEmpty());
  // The other one is not heard of for a whole lease period from the restart.
  fleet.Pass(1);
  fleet.scheduler().Tick(fleet.now());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping));
}

TEST_F(Running, ARestartedCoordinatorTellsASecondLifeApart) {
  const Job stored = *fleet.scheduler().Find("a");
  fleet.Restart();
  fleet.scheduler().RestoreJob(stored, fleet.now());
  WorkerReport reborn = fleet.Words("w-1");
  reborn.worker.session_id = "w-1-life-2";
  fleet.Send(reborn);
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStopping));
}

TEST_F(Running, ARestartedCoordinatorPublishesAgain) {
  Job stored = *fleet.scheduler().Find("a");
  for (Lease& lease : stored.attempt.leases) lease.state = LeaseState::kDone;
  stored.attempt.phase = AttemptPhase::kPublishing;
  fleet.Restart();
  fleet.scheduler().RestoreJob(stored, fleet.now());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kPublish));
}

TEST_F(Running, ARestartBetweenTheLastReportAndTheDecisionStillPublishes) {
  Job stored = *fleet.scheduler().Find("a");
  for (Lease& lease : stored.attempt.leases) lease.state = LeaseState::kDone;
  fleet.Restart();
  fleet.scheduler().RestoreJob(stored, fleet.now());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kPublish));
}

TEST(Attempts, ZeroWorkersAlsoWaitsForTheLostOneAWhile) {
  Fleet fleet;
  fleet.Idle("w-1");
  fleet.Idle("w-2");
  fleet.Add("a", 6, 0);
  WorkerReport reborn = fleet.Words("w-1");
  reborn.worker.session_id = "w-1-life-2";
  fleet.Idle("w-2");
  fleet.Send(reborn);
  fleet.Idle("w-2");
  fleet.Send(reborn);
  EXPECT_EQ(fleet.scheduler().Find("a")->attempt.number, 2);
  EXPECT_EQ(fleet.scheduler().Find("a")->attempt.leases.size(), 2u);
}

}  // namespace
}  // namespace calipress::scheduler
