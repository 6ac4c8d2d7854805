#include "compress/collective/buffered_group.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <deque>
#include <utility>

namespace calipress::collective {
namespace {

// A peer that has received as many sends as the test says.
class SlowPeer : public Group {
 public:
  class Slow : public Transfer {
   public:
    explicit Slow(SlowPeer& peer) : peer_(peer) {}
    absl::Status Wait() override {
      ++peer_.waited;
      return peer_.gone ? absl::UnavailableError("the peer is gone") : absl::OkStatus();
    }

   private:
    SlowPeer& peer_;
  };

  int rank() const override { return 0; }
  int size() const override { return 2; }
  absl::StatusOr<std::unique_ptr<Transfer>> Send(at::Tensor tensor, int to) override {
    sent.emplace_back(std::move(tensor), to);
    return std::unique_ptr<Transfer>(std::make_unique<Slow>(*this));
  }
  absl::StatusOr<std::unique_ptr<Transfer>> Receive(at::Tensor, int) override { return absl::UnimplementedError(""); }
  absl::Status AllReduceSum(at::Tensor) override { return absl::OkStatus(); }
  absl::Status AllReduceMax(at::Tensor) override { return absl::OkStatus(); }
  absl::Status AllGather(std::vector<at::Tensor>) override { return absl::OkStatus(); }
  absl::Status Barrier() override { return absl::OkStatus(); }
  void Abort() override {}

  std::deque<std::pair<at::Tensor, int>> sent;
  int waited = 0;
  bool gone = false;
};

TEST(BufferedGroup, SendsDoNotWaitBelowTheLimit) {
  SlowPeer peer;
  BufferedGroup group(peer, /*limit=*/100);
  for (int i = 0; i < 2; ++i) {
    auto transfer = group.Send(at::full({10}, i, at::kFloat), 1);  // 40 bytes
    ASSERT_TRUE(transfer.ok());
    EXPECT_TRUE((*transfer)->Wait().ok());
  }
  EXPECT_EQ(peer.sent.size(), 2u);
  EXPECT_EQ(peer.waited, 0);
  // The third would make 120 bytes: the first has to be gone before.
  ASSERT_TRUE(group.Send(at::zeros({10}), 1).ok());
  EXPECT_EQ(peer.waited, 1);
  EXPECT_EQ(peer.sent[1].first[0].item<float>(), 1.0f);
  ASSERT_TRUE(group.Flush().ok());
  EXPECT_EQ(peer.waited, 3);
}

TEST(BufferedGroup, OneTensorAboveTheLimitGoes) {
  SlowPeer peer;
  BufferedGroup group(peer, /*limit=*/8);
  ASSERT_TRUE(group.Send(at::zeros({100}), 1).ok());
  EXPECT_EQ(peer.waited, 0);
}

TEST(BufferedGroup, AFailureComesWithTheNextWait) {
  SlowPeer peer;
  BufferedGroup group(peer, /*limit=*/8);
  ASSERT_TRUE(group.Send(at::zeros({2}), 1).ok());
  peer.gone = true;
  EXPECT_EQ(group.Send(at::zeros({2}), 1).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace calipress::collective
