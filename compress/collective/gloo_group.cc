#include "compress/collective/gloo_group.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros.h>

#include <functional>
#include <utility>
#include <vector>

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

  absl::Status AllReduceSum(at::Tensor tensor) override {
    return AllReduce(tensor, [](at::Tensor& mine, const at::Tensor& incoming) { mine.add_(incoming); });
  }
  absl::Status AllReduceMax(at::Tensor tensor) override {
    return AllReduce(tensor,
                     [](at::Tensor& mine, const at::Tensor& incoming) { mine.copy_(at::maximum(mine, incoming)); });
  }

  // Everyone to everyone at once.
  absl::Status AllGather(std::vector<at::Tensor> parts) override {
    CALIPRESS_RETURN_IF_ERROR(CheckParts(parts));
    std::vector<std::unique_ptr<Transfer>> transfers;
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      CALIPRESS_ASSIGN_OR_RETURN(transfers.emplace_back(), Receive(parts[peer], peer));
    }
    // Each rank begins with the one after it, so that not all send to one.
    for (int step = 1; step < size(); ++step) {
      CALIPRESS_ASSIGN_OR_RETURN(transfers.emplace_back(), Send(parts[rank()], (rank() + step) % size()));
    }
    for (auto& transfer : transfers) CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
    return absl::OkStatus();
  }

  // A sum cannot be known before everyone has brought their part.
  absl::Status Barrier() override { return AllReduceSum(at::zeros({size()}, at::kByte)); }

 private:
  GlooGroup(const Meeting& meeting, c10::intrusive_ptr<c10d::Backend> backend)
      : C10dGroup(meeting, std::move(backend), at::kCPU,
                  [](c10d::Work& work, const PendingWorks&) { return work.wait(kNoTimeLimit); }) {}

  // Ring: size - 1 steps that reduce one share each, then size - 1 steps that hand the results on. Share s is reduced
  // in the order s, s + 1, ... of the ranks, whoever asks.
  absl::Status AllReduce(const at::Tensor& tensor,
                         const std::function<void(at::Tensor& mine, const at::Tensor& incoming)>& reduce) {
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
      reduce(mine, incoming);
    }
    for (int step = 0; step < size() - 1; ++step) {
      CALIPRESS_RETURN_IF_ERROR(Exchange(share(rank() + 1 - step), share(rank() - step)));
    }
    return absl::OkStatus();
  }

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
