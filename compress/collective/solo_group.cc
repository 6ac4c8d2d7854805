#include "compress/collective/solo_group.h"

#include <atomic>

#include "compress/base/error.h"

namespace calipress::collective {
namespace {

class SoloGroup : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  absl::StatusOr<std::unique_ptr<Transfer>> Send(at::Tensor, int to) override { return NoPeer(to); }
  absl::StatusOr<std::unique_ptr<Transfer>> Receive(at::Tensor, int from) override { return NoPeer(from); }
  absl::Status AllReduceSum(at::Tensor) override { return State(); }
  absl::Status AllReduceMax(at::Tensor) override { return State(); }
  absl::Status AllGather(std::vector<at::Tensor>) override { return State(); }
  absl::Status Barrier() override { return State(); }
  void Abort() override { aborted_ = true; }

 private:
  static absl::Status NoPeer(int peer) {
    return DefectError("a group of one rank has no peer " + std::to_string(peer));
  }
  absl::Status State() const { return aborted_ ? absl::CancelledError("the group was aborted") : absl::OkStatus(); }
  std::atomic<bool> aborted_ = false;
};

}  // namespace

std::unique_ptr<Group> MakeSoloGroup() { return std::make_unique<SoloGroup>(); }

}  // namespace calipress::collective
