#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "compress/collective/group.h"

namespace calipress::collective {

// A group whose sends do not wait for their receiver: tensors stay here until it takes them, `limit` bytes at most
// (and one tensor at least); beyond that the oldest are waited for. For pipelines whose stages work on different things
// at one time. Everything else goes to `group`, which outlives it. Tensors that were sent are not written to any more.
class BufferedGroup : public Group {
 public:
  BufferedGroup(Group& group, int64_t limit) : group_(group), limit_(limit) {}

  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  absl::StatusOr<std::unique_ptr<Transfer>> Send(at::Tensor tensor, int to) override;
  absl::StatusOr<std::unique_ptr<Transfer>> Receive(at::Tensor tensor, int from) override {
    return group_.Receive(std::move(tensor), from);
  }
  absl::Status AllReduceSum(at::Tensor tensor) override { return group_.AllReduceSum(std::move(tensor)); }
  absl::Status AllReduceMax(at::Tensor tensor) override { return group_.AllReduceMax(std::move(tensor)); }
  absl::Status AllGather(std::vector<at::Tensor> parts) override { return group_.AllGather(std::move(parts)); }
  absl::Status Barrier() override { return group_.Barrier(); }
  void Abort() override { group_.Abort(); }

  // Waits until everything has been received.
  absl::Status Flush();

 private:
  absl::Status WaitOldest();

  Group& group_;
  const int64_t limit_;
  int64_t bytes_ = 0;
  std::deque<std::pair<int64_t, std::unique_ptr<Transfer>>> under_way_;
};

}  // namespace calipress::collective
