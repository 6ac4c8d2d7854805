#include "compress/collective/gloo_group.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "compress/base/status_macros.h"
#include "compress/collective/c10d_group.h"
#include "compress/collective/gloo_backend.h"

namespace calipress::collective {
namespace {

class GlooGroup : public C10dGroup {
 public:
  static absl::StatusOr<std::unique_ptr<Group>> Join(const Meeting& meeting, const CancellationToken& cancellation) {
    CALIPRESS_ASSIGN_OR_RETURN(auto backend, ConnectGloo(meeting, "data"));
    auto group = std::unique_ptr<GlooGroup>(new GlooGroup(meeting, std::move(backend)));
    CALIPRESS_RETURN_IF_ERROR(group->Start(meeting, cancellation));
    return group;
  }

  // Ring: size - 1 steps that sum one share each, then size - 1 steps that hand the sums on. Share s is summed in the
  // order s, s + 1, ... of the ranks, whoever asks.
  absl::Status AllReduceSum(at::Tensor tensor) override {
    CALIPRESS_RETURN_IF_ERROR(CheckTensor(tensor));
    const at::Tensor flat = tensor.view({-1});
    const auto share = [&](int index) {
      const int s = ((index % size()) + size()) % size();
      const int64_t begin = flat.numel() * s / size();
      const int64_t end = flat.numel() * (s + 1) / size();
      return flat.slice(0, begin, end);
    };
    for (int step = 0; step < size() - 1; ++step) {
      at::Tensor mine = share(rank() - step - 1);
      at::Tensor incoming = at::empty_like(mine);
      CALIPRESS_RETURN_IF_ERROR(Exchange(share(rank() - step), incoming));
      mine.add_(incoming);
    }
    for (int step = 0; step < size() - 1; ++step) {
      CALIPRESS_RETURN_IF_ERROR(Exchange(share(rank() + 1 - step), share(rank() - step)));
    }
    return absl::OkStatus();
  }

  // A sum cannot be known before everyone has brought their part.
  absl::Status Barrier() override { return AllReduceSum(at::zeros({size()}, at::kByte)); }

 private:
  GlooGroup(const Meeting& meeting, c10::intrusive_ptr<c10d::Backend> backend)
      : C10dGroup(meeting, std::move(backend), at::kCPU,
                  [](c10d::Work& work, const PendingWorks&) { return work.wait(kNoTimeLimit); }) {}

  // To the next rank, from the previous one.
  absl::Status Exchange(const at::Tensor& outgoing, const at::Tensor& incoming) {
    CALIPRESS_ASSIGN_OR_RETURN(auto receive, Receive(incoming, (rank() + size() - 1) % size()));
    CALIPRESS_ASSIGN_OR_RETURN(auto send, Send(outgoing, (rank() + 1) % size()));
    CALIPRESS_RETURN_IF_ERROR(receive->Wait());
    return send->Wait();
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Group>> JoinGloo(const Meeting& meeting, const CancellationToken& cancellation) {
  return GlooGroup::Join(meeting, cancellation);
}

}  // namespace calipress::collective
