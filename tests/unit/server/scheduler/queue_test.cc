// Who gets which workers, and when.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/server/scheduler/testing_fleet.h"

namespace calipress::scheduler {
namespace {

using Kind = Decision::Kind;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Queue, AGangGetsAllItsWorkersOrNone) {
  Fleet fleet;
  fleet.Add("a", 5, 2);
  EXPECT_EQ(fleet.Idle("w-1").job, "");
  EXPECT_EQ(fleet.scheduler().WaitingFor("a", fleet.now()), "waits for 2 cpu workers, 1 is idle");
  EXPECT_THAT(fleet.Decided(), IsEmpty());

  const Fleet::Order second = fleet.Idle("w-2");
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStarted));
  EXPECT_EQ(second.job, "a");
  EXPECT_EQ(second.rank, 1);
  EXPECT_EQ(second.first_block, 3);
  EXPECT_EQ(second.end_block, 5);
  const Fleet::Order first = fleet.Idle("w-1");
  EXPECT_EQ(first.rank, 0);
  EXPECT_EQ(first.end_block, 3);
  EXPECT_NE(first.token, second.token);
  EXPECT_EQ(fleet.scheduler().Find("a")->attempt.rendezvous, "w-1:1");
  // A lost answer is harmless: the same words get the same answer.
  EXPECT_EQ(fleet.Idle("w-1").token, first.token);
}

TEST(Queue, ZeroWorkersMeansAllIdleOnesAtMostOnePerBlock) {
  Fleet fleet;
  for (const char* worker : {"w-1", "w-2", "w-3", "w-4"}) fleet.Idle(worker);
  fleet.Add("a", 3, 0);
  EXPECT_EQ(fleet.scheduler().Find("a")->attempt.leases.size(), 3u);
  EXPECT_EQ(fleet.Idle("w-4").job, "");
}

TEST(Queue, ReplicasHaveAllBlocksAndAreAsManyAsSamples) {
  Fleet fleet;
  for (const char* worker : {"w-1", "w-2", "w-3", "w-4"}) fleet.Idle(worker);
  fleet.AddReplicas("a", 2, 0, 3);
  EXPECT_EQ(fleet.scheduler().Find("a")->attempt.leases.size(), 3u);
  for (const char* worker : {"w-1", "w-2", "w-3"}) {
    const Fleet::Order order = fleet.Idle(worker);
    EXPECT_EQ(order.first_block, 0);
    EXPECT_EQ(order.end_block, 2);
  }
  EXPECT_EQ(fleet.Idle("w-4").job, "");
}

TEST(Queue, IsFirstComeFirstServed) {
  Fleet fleet;
  fleet.Add("a", 4, 1);
  fleet.Add("b", 4, 1);
  EXPECT_EQ(fleet.Idle("w-1").job, "a");
  EXPECT_EQ(fleet.Idle("w-2").job, "b");
}

TEST(Queue, ALargeJobIsNotStarvedBySmallOnes) {
  Fleet fleet;
  fleet.Idle("w-1");
  fleet.Add("first", 4, 1);
  fleet.Idle("w-2");
  fleet.Add("large", 4, 2);
  fleet.Add("small", 4, 1);
  EXPECT_EQ(fleet.Idle("w-2").job, "");  // kept for `large`
  const std::string token = fleet.Idle("w-1").token;
  fleet.Ended("w-1", token, absl::OkStatus());
  EXPECT_EQ(fleet.Idle("w-1").job, "large");
  EXPECT_EQ(fleet.Idle("w-2").job, "large");
}

TEST(Queue, AJobThatWantsMoreWorkersThanThereAreBlocksNobody) {
  Fleet fleet;
  fleet.Add("huge", 40, 30);
  fleet.Add("small", 4, 1);
  EXPECT_EQ(fleet.Idle("w-1").job, "small");
}

TEST(Queue, DevicesAreMatchedAndNeverMixed) {
  Fleet fleet;
  WorkerReport gpu = fleet.Words("g-1");
  gpu.worker.device = "cuda";
  fleet.Add("needs-cuda", 4, 1, "cuda");
  EXPECT_EQ(fleet.Idle("w-1").job, "");
  fleet.Add("any-2", 4, 2, "");
  EXPECT_EQ(fleet.Send(gpu).job, "needs-cuda");
  EXPECT_EQ(fleet.Idle("w-1").job, "");
  gpu.worker.id = "g-2";
  EXPECT_EQ(fleet.Send(gpu).job, "");  // one cuda and one cpu worker are no gang
  EXPECT_EQ(fleet.Idle("w-2").job, "any-2");
  EXPECT_EQ(fleet.Send(gpu).job, "");
}

TEST(Queue, DrainingAndSilentWorkersGetNoWork) {
  Fleet fleet;
  WorkerReport draining = fleet.Words("w-1");
  draining.worker.draining = true;
  fleet.Send(draining);
  fleet.Idle("w-2");
  fleet.Pass(6);
  fleet.Add("a", 4, 0);
  fleet.Send(draining);
  EXPECT_THAT(fleet.Decided(), IsEmpty());
  EXPECT_EQ(fleet.Idle("w-2").job, "a");
  EXPECT_EQ(fleet.scheduler().Find("a")->attempt.leases.size(), 1u);
}

TEST(Queue, SilentWorkersAreLostThenForgotten) {
  Fleet fleet;
  fleet.Idle("w-1");
  fleet.Pass(14);
  EXPECT_FALSE(fleet.scheduler().IsLost(*fleet.scheduler().workers().Find("w-1"), fleet.now()));
  fleet.Pass(1);
  EXPECT_TRUE(fleet.scheduler().IsLost(*fleet.scheduler().workers().Find("w-1"), fleet.now()));
  fleet.Pass(600);
  fleet.scheduler().Tick(fleet.now());
  EXPECT_EQ(fleet.scheduler().workers().Find("w-1"), nullptr);
}

TEST(Queue, PublishesWhenEveryRankIsDoneAndFreesTheGangTogether) {
  Fleet fleet;
  fleet.Idle("w-1");
  fleet.Idle("w-2");
  fleet.Add("a", 4, 2);
  const std::string t1 = fleet.Idle("w-1").token;
  const std::string t2 = fleet.Idle("w-2").token;
  EXPECT_TRUE(fleet.Ended("w-1", t1, absl::OkStatus()).accepted);
  fleet.Add("b", 4, 1);
  EXPECT_EQ(fleet.Idle("w-1").job, "");  // rank 0 waits for its gang
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kAttemptStarted));
  fleet.Ended("w-2", t2, absl::OkStatus());
  EXPECT_THAT(fleet.Decided(), ElementsAre(Kind::kPublish, Kind::kAttemptStarted));
  EXPECT_EQ(fleet.Idle("w-1").job, "b");
  fleet.scheduler().Finish("a");
  EXPECT_EQ(fleet.scheduler().Find("a"), nullptr);
}

TEST(Queue, TheSameEventsGiveTheSameDecisions) {
  auto run = [] {
    Fleet fleet;
    std::string story;
    fleet.Add("a", 7, 2);
    fleet.Add("b", 7, 0, "");
    for (const char* worker : {"w-3", "w-1", "w-2", "w-1", "w-2", "w-3"}) {
      const Fleet::Order order = fleet.Idle(worker);
      story += std::string(worker) + ">" + order.job + ":" + order.token + ":" + std::to_string(order.rank) + " ";
    }
    return story;
  };
  EXPECT_EQ(run(), run());
  EXPECT_EQ(run(), "w-3>b:token-1:0 w-1>::-1 w-2>a:token-3:1 w-1>a:token-2:0 w-2>a:token-3:1 w-3>b:token-1:0 ");
}

}  // namespace
}  // namespace calipress::scheduler
