#include "compress/collective/group.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <thread>

#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/metrics.h"
#include "testing_ranks.h"

namespace calipress::collective {
namespace {

using testing::Gang;
using testing::RegisterRole;
using testing::SayReady;

// In a role: says what went wrong and ends it.
#define ROLE_CHECK(condition, detail)                                                                 \
  do {                                                                                                \
    if (!(condition)) {                                                                               \
      std::cerr << "rank " << options.rank << ": " #condition " is false: " << (detail) << std::endl; \
      return 1;                                                                                       \
    }                                                                                                 \
  } while (false)

double CounterValue(const std::string& family, const std::map<std::string, std::string>& labels) {
  for (const auto& metric_family : Metrics().Collect()) {
    if (metric_family.name != family) continue;
    for (const auto& metric : metric_family.metric) {
      size_t matching = 0;
      for (const auto& label : metric.label) {
        const auto wanted = labels.find(label.name);
        if (wanted != labels.end() && wanted->second == label.value) ++matching;
      }
      if (matching == labels.size()) return metric.counter.value;
    }
  }
  return -1;
}

at::Tensor Pattern(int64_t seed, at::ScalarType dtype) {
  return at::arange(1000).add(seed * 7).remainder(251).to(dtype).view({10, 100});
}

// Chain: rank r receives 50 tensors from r - 1 and passes them on; several are under way at once.
const RegisterRole chain("chain", [](const GroupOptions& options) {
  auto group = JoinGroup("gloo", options, CancellationToken());
  ROLE_CHECK(group.ok(), group.status());
  constexpr int kCount = 50;
  std::vector<std::unique_ptr<Transfer>> sends;
  std::vector<std::unique_ptr<Transfer>> receives;
  std::vector<at::Tensor> tensors;
  for (int i = 0; i < kCount; ++i) {
    const at::ScalarType dtype = i % 2 == 0 ? at::kBFloat16 : at::kFloat;
    tensors.push_back(options.rank == 0 ? Pattern(i, dtype) : at::empty({10, 100}, dtype));
    if (options.rank > 0) {
      auto receive = (*group)->Receive(tensors.back(), options.rank - 1);
      ROLE_CHECK(receive.ok(), receive.status());
      receives.push_back(*std::move(receive));
    }
  }
  for (int i = 0; i < kCount; ++i) {
    if (options.rank > 0) {
      const absl::Status status = receives[i]->Wait();
      ROLE_CHECK(status.ok(), status);
      ROLE_CHECK(tensors[i].equal(Pattern(i, tensors[i].scalar_type())), i);
    }
    if (options.rank + 1 < options.size) {
      auto send = (*group)->Send(tensors[i], options.rank + 1);
      ROLE_CHECK(send.ok(), send.status());
      sends.push_back(*std::move(send));
    }
  }
  for (auto& send : sends) {
    const absl::Status status = send->Wait();
    ROLE_CHECK(status.ok(), status);
  }
  const double bytes = CounterValue("calipress_collective_bytes_total",
                                    {{"operation", options.rank == 0 ? "send" : "receive"}, {"backend", "gloo"}});
  ROLE_CHECK(bytes == 25 * 1000 * 2 + 25 * 1000 * 4, bytes);
  return 0;
});

TEST(GlooGroupTest, TransfersArriveInOrderAndOverlap) {
  Gang gang("chain", 3);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(gang.Wait(rank), 0);
}

// The receive is posted, work goes on, and the tensor comes meanwhile.
const RegisterRole overlap("overlap", [](const GroupOptions& options) {
  auto group = JoinGroup("gloo", options, CancellationToken());
  ROLE_CHECK(group.ok(), group.status());
  if (options.rank == 0) {
    at::Tensor big = at::ones({16 << 20});
    auto send = (*group)->Send(big, 1);
    ROLE_CHECK(send.ok(), send.status());
    const absl::Status status = (*send)->Wait();
    ROLE_CHECK(status.ok(), status);
    return 0;
  }
  at::Tensor big = at::zeros({16 << 20});
  auto receive = (*group)->Receive(big, 0);
  ROLE_CHECK(receive.ok(), receive.status());
  // Nobody waits on the transfer; it must get on by itself.
  const Stopwatch watch;
  while (big[-1].item<float>() != 1 && watch.Seconds() < 30) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ROLE_CHECK(big[-1].item<float>() == 1, "nothing came while the rank was busy");
  const absl::Status status = (*receive)->Wait();
  ROLE_CHECK(status.ok(), status);
  ROLE_CHECK(big.sum(at::kDouble).item<double>() == 16 << 20, "sum");
  return 0;
});

TEST(GlooGroupTest, ATransferGetsOnWhileTheRankIsBusy) {
  Gang gang("overlap", 2);
  for (int rank = 0; rank < 2; ++rank) EXPECT_EQ(gang.Wait(rank), 0);
}

const RegisterRole sum("sum", [](const GroupOptions& options) {
  auto group = JoinGroup("gloo", options, CancellationToken());
  ROLE_CHECK(group.ok(), group.status());
  for (const int64_t elements : {1, 2, 7, 1000, 100003}) {
    at::Tensor values = at::arange(elements, at::kDouble) * (options.rank + 1);
    const absl::Status status = (*group)->AllReduceSum(values);
    ROLE_CHECK(status.ok(), status);
    const int ranks = options.size * (options.size + 1) / 2;
    ROLE_CHECK(values.equal(at::arange(elements, at::kDouble) * ranks), elements);
  }
  // Rounding differs with the order of the sum: every rank must have taken the same.
  at::manual_seed(options.rank);
  at::Tensor mine = at::randn({4097});
  absl::Status status = (*group)->AllReduceSum(mine);
  ROLE_CHECK(status.ok(), status);
  at::Tensor other = mine.clone();
  if (options.rank == 0) {
    for (int peer = 1; peer < options.size; ++peer) {
      auto send = (*group)->Send(other, peer);
      ROLE_CHECK(send.ok() && (*send)->Wait().ok(), "send");
    }
  } else {
    auto receive = (*group)->Receive(other, 0);
    ROLE_CHECK(receive.ok() && (*receive)->Wait().ok(), "receive");
  }
  ROLE_CHECK(other.equal(mine), "the ranks have different bits");
  return 0;
});

const RegisterRole gather("gather", [](const GroupOptions& options) {
  auto group = JoinGroup("gloo", options, CancellationToken());
  ROLE_CHECK(group.ok(), group.status());
  // The largest of each element is somebody else's each time.
  at::Tensor values = at::arange(1001, at::kFloat).add(options.rank).remainder(options.size).neg();
  absl::Status status = (*group)->AllReduceMax(values);
  ROLE_CHECK(status.ok(), status);
  ROLE_CHECK(values.equal(at::zeros({1001})), "a maximum is wrong");
  // Rank r's part has r rows (rank 0's is empty) and a dtype of its own; the second time large ones, so that nothing
  // works by buffers alone.
  for (const int64_t columns : {3, 200000}) {
    const auto part = [&](int rank) {
      return at::full({rank, columns}, rank + 1, rank % 2 == 0 ? at::kByte : at::kBFloat16);
    };
    std::vector<at::Tensor> parts;
    for (int rank = 0; rank < options.size; ++rank) {
      parts.push_back(rank == options.rank ? part(rank) : at::empty_like(part(rank)));
    }
    status = (*group)->AllGather(parts);
    ROLE_CHECK(status.ok(), status);
    for (int rank = 0; rank < options.size; ++rank) ROLE_CHECK(parts[rank].equal(part(rank)), rank);
  }
  ROLE_CHECK(!(*group)->AllGather({at::ones({1})}).ok(), "too few parts were taken");
  return 0;
});

TEST(GlooGroupTest, GathersPartsOfAnySizeAndTakesMaxima) {
  for (const int size : {2, 3, 4}) {
    Gang gang("gather", size);
    for (int rank = 0; rank < size; ++rank) EXPECT_EQ(gang.Wait(rank), 0) << "of " << size;
  }
}

TEST(GlooGroupTest, SumsAreTheSameBitsOnEveryRank) {
  for (const int size : {2, 3, 4}) {
    Gang gang("sum", size);
    for (int rank = 0; rank < size; ++rank) EXPECT_EQ(gang.Wait(rank), 0) << "of " << size;
  }
}

const RegisterRole barrier("barrier", [](const GroupOptions& options) {
  auto group = JoinGroup("gloo", options, CancellationToken());
  ROLE_CHECK(group.ok(), group.status());
  absl::Status status = (*group)->Barrier();
  ROLE_CHECK(status.ok(), status);
  const Stopwatch watch;
  if (options.rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(700));
  status = (*group)->Barrier();
  ROLE_CHECK(status.ok(), status);
  ROLE_CHECK(watch.Seconds() > 0.5, watch.Seconds());
  return 0;
});

TEST(GlooGroupTest, ABarrierWaitsForTheLastRank) {
  Gang gang("barrier", 3);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(gang.Wait(rank), 0);
}

// Rank 1 waits for something that never comes and cancels itself from another thread; rank 0 and 2 wait too and must
// hear of it at once, although neither of them is told by anyone else.
const RegisterRole cancel("cancel", [](const GroupOptions& options) {
  CancellationToken token;
  auto group = JoinGroup("gloo", options, token);
  ROLE_CHECK(group.ok(), group.status());
  at::Tensor tensor = at::zeros({8});
  auto receive = (*group)->Receive(tensor, (options.rank + 1) % 3);
  ROLE_CHECK(receive.ok(), receive.status());
  std::jthread canceller;
  if (options.rank == 1) {
    canceller = std::jthread([token]() mutable {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      token.Cancel(EnvironmentError(reason::kLeaseLost, "another lease"));
    });
  }
  const Stopwatch watch;
  const absl::Status status = (*receive)->Wait();
  ROLE_CHECK(ErrorReason(status) == (options.rank == 1 ? reason::kLeaseLost : reason::kPeerLost), status);
  ROLE_CHECK(watch.Seconds() < 3, watch.Seconds());
  // The group is of no use any more, and says so without blocking.
  ROLE_CHECK(!(*group)->Send(tensor, (options.rank + 1) % 3).ok(), "send");
  ROLE_CHECK(!(*group)->Barrier().ok(), "barrier");
  return 0;
});

TEST(GlooGroupTest, CancellationEndsTheWaitsOfTheWholeGang) {
  Gang gang("cancel", 3);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(gang.Wait(rank), 0);
}

const RegisterRole abort_barrier("abort-barrier", [](const GroupOptions& options) {
  auto group = JoinGroup("gloo", options, CancellationToken());
  ROLE_CHECK(group.ok(), group.status());
  if (options.rank == 0) {  // does not come to the barrier before the other has left it
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    return 0;
  }
  std::jthread aborter([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    (*group)->Abort();
  });
  const Stopwatch watch;
  const absl::Status status = (*group)->Barrier();
  ROLE_CHECK(status.code() == absl::StatusCode::kCancelled, status);
  ROLE_CHECK(watch.Seconds() < 1, watch.Seconds());
  return 0;
});

TEST(GlooGroupTest, AbortEndsABarrier) {
  Gang gang("abort-barrier", 2);
  for (int rank = 0; rank < 2; ++rank) EXPECT_EQ(gang.Wait(rank), 0);
}

// Everyone waits for rank 0, which waits for nobody; one rank is killed. Exit code: 10 for PEER_LOST.
const RegisterRole loss("loss", [](const GroupOptions& options) {
  auto group = JoinGroup("gloo", options, CancellationToken());
  ROLE_CHECK(group.ok(), group.status());
  at::Tensor tensor = at::zeros({8});
  auto receive = (*group)->Receive(tensor, options.rank == 0 ? 1 : 0);
  ROLE_CHECK(receive.ok(), receive.status());
  SayReady();
  const absl::Status status = (*receive)->Wait();
  ROLE_CHECK(ErrorReason(status) == reason::kPeerLost, status);
  ROLE_CHECK(ErrorClassOf(status) == ErrorClass::kEnvironment, status);
  ROLE_CHECK(
      CounterValue("calipress_collective_failures_total", {{"operation", "receive"}, {"reason", "PEER_LOST"}}) == 1,
      "no failure counted");
  return 10;
});

TEST(GlooGroupTest, AKilledRankIsNoticedByEveryRankAtOnce) {
  // Rank 2 is nobody's partner: only the watch can tell of it.
  for (const int victim : {0, 1, 2}) {
    Gang gang("loss", 3);
    for (int rank = 0; rank < 3; ++rank) ASSERT_TRUE(gang.WaitReady(rank));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const Stopwatch watch;
    gang.Kill(victim);
    for (int rank = 0; rank < 3; ++rank) {
      if (rank != victim) EXPECT_EQ(gang.Wait(rank, 10), 10) << "rank " << rank << " of victim " << victim;
    }
    EXPECT_LT(watch.Seconds(), 2) << "victim " << victim;
  }
}

// Rank 0 has done its part and leaves; that is no loss for the others, who go on.
const RegisterRole leave("leave", [](const GroupOptions& options) {
  auto group = JoinGroup("gloo", options, CancellationToken());
  ROLE_CHECK(group.ok(), group.status());
  at::Tensor tensor = at::full({1 << 20}, options.rank == 0 ? 3 : 0);
  if (options.rank == 0) {
    auto send = (*group)->Send(tensor, 1);
    ROLE_CHECK(send.ok() && (*send)->Wait().ok(), "send");
    return 0;
  }
  if (options.rank == 1) {
    auto receive = (*group)->Receive(tensor, 0);
    ROLE_CHECK(receive.ok(), receive.status());
    const absl::Status received = (*receive)->Wait();
    ROLE_CHECK(received.ok(), received);
    std::this_thread::sleep_for(std::chrono::milliseconds(800));
    auto send = (*group)->Send(tensor, 2);
    ROLE_CHECK(send.ok(), send.status());
    const absl::Status status = (*send)->Wait();
    ROLE_CHECK(status.ok(), status);
  } else {
    auto receive = (*group)->Receive(tensor, 1);
    ROLE_CHECK(receive.ok(), receive.status());
    const absl::Status status = (*receive)->Wait();
    ROLE_CHECK(status.ok(), status);
    ROLE_CHECK(tensor.eq(3).all().item<bool>(), "values");
  }
  return 0;
});

TEST(GlooGroupTest, ARankThatLeavesInGoodOrderIsNotLost) {
  Gang gang("leave", 3);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(gang.Wait(rank), 0);
}

GroupOptions Alone(int port) {
  GroupOptions options;
  options.rendezvous = "127.0.0.1:" + std::to_string(port);
  options.key = "alone";
  options.rank = 1;
  options.size = 3;
  options.host = "127.0.0.1";
  options.timeout_seconds = 0.5;
  return options;
}

TEST(JoinGroupTest, NamesTheRanksThatDidNotCome) {
  auto rendezvous = Rendezvous::Listen(0);
  ASSERT_TRUE(rendezvous.ok()) << rendezvous.status();
  ASSERT_GT((*rendezvous)->port(), 0);
  const auto group = JoinGroup("gloo", Alone((*rendezvous)->port()), CancellationToken());
  EXPECT_EQ(ErrorReason(group.status()), reason::kPeerLost);
  EXPECT_NE(group.status().message().find("0, 2 did not come"), std::string::npos) << group.status();
}

TEST(JoinGroupTest, AnUnreachableStoreIsAnEnvironmentFailure) {
  int port = 0;
  {
    auto rendezvous = Rendezvous::Listen(0);
    ASSERT_TRUE(rendezvous.ok());
    port = (*rendezvous)->port();
  }
  const auto group = JoinGroup("gloo", Alone(port), CancellationToken());
  EXPECT_EQ(ErrorReason(group.status()), reason::kPeerLost);
  EXPECT_EQ(ErrorClassOf(group.status()), ErrorClass::kEnvironment);
}

TEST(JoinGroupTest, WaitingForTheOthersCanBeCancelled) {
  auto rendezvous = Rendezvous::Listen(0);
  ASSERT_TRUE(rendezvous.ok()) << rendezvous.status();
  GroupOptions options = Alone((*rendezvous)->port());
  options.timeout_seconds = 60;
  CancellationToken token;
  std::jthread canceller([token]() mutable {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    token.Cancel(EnvironmentError(reason::kDraining, "stopping"));
  });
  const Stopwatch watch;
  const auto group = JoinGroup("gloo", options, token);
  EXPECT_EQ(ErrorReason(group.status()), reason::kDraining) << group.status();
  EXPECT_LT(watch.Seconds(), 3);
}

TEST(JoinGroupTest, AnUnknownBackendIsNamed) {
  EXPECT_TRUE(IsAvailable("gloo"));
  EXPECT_FALSE(IsAvailable("nccl"));
  const auto group = JoinGroup("nccl", Alone(1), CancellationToken());
  EXPECT_EQ(ErrorReason(group.status()), reason::kDeviceUnavailable);
}

TEST(JoinGroupTest, AHostOfAnotherMachineIsRefusedWithTheField) {
  auto rendezvous = Rendezvous::Listen(0);
  ASSERT_TRUE(rendezvous.ok());
  const auto join = [&](int rank) {
    GroupOptions options = Alone((*rendezvous)->port());
    options.rank = rank;
    options.size = 2;
    options.host = "192.0.2.1";  // TEST-NET-1
    options.timeout_seconds = 30;
    return JoinGroup("gloo", options, CancellationToken()).status();
  };
  absl::Status other;
  std::jthread peer([&] { other = join(1); });
  const absl::Status status = join(0);
  EXPECT_EQ(ErrorReason(status), reason::kDeviceUnavailable) << status;
  EXPECT_NE(status.message().find("`host`"), std::string::npos) << status;
}

TEST(SoloGroupTest, OneRankNeedsNoStoreAndHasNoPeers) {
  GroupOptions options;
  auto group = JoinGroup("gloo", options, CancellationToken());
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ((*group)->size(), 1);
  at::Tensor values = at::ones({3});
  EXPECT_TRUE((*group)->AllReduceSum(values).ok());
  EXPECT_TRUE(values.equal(at::ones({3})));
  EXPECT_TRUE((*group)->Barrier().ok());
  EXPECT_FALSE((*group)->Send(values, 1).ok());
  (*group)->Abort();
  EXPECT_FALSE((*group)->Barrier().ok());
}

TEST(RendezvousTest, ATakenPortIsAFailureWithAdvice) {
  auto first = Rendezvous::Listen(0);
  ASSERT_TRUE(first.ok());
  const auto second = Rendezvous::Listen((*first)->port());
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("0 picks a free one"), std::string::npos) << second.status();
  EXPECT_EQ(ErrorClassOf(Rendezvous::Listen(70000).status()), ErrorClass::kUser);
}

}  // namespace
}  // namespace calipress::collective
