#include "compress/collective/c10d_group.h"

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/c10d_call.h"

namespace calipress::collective {
namespace {

constexpr int kTag = 0;

class C10dTransfer : public Transfer {
 public:
  C10dTransfer(std::string what, at::Tensor tensor, c10::intrusive_ptr<c10d::Work> work,
               std::shared_ptr<PendingWorks> works, std::function<bool(c10d::Work&, const PendingWorks&)> wait)
      : what_(std::move(what)),
        tensor_(std::move(tensor)),
        work_(std::move(work)),
        works_(std::move(works)),
        wait_(std::move(wait)),
        id_(works_->Add(work_)) {}

  ~C10dTransfer() override { works_->Remove(id_); }

  absl::Status Wait() override {
    if (waited_) return result_;
    waited_ = true;
    bool done = false;
    absl::Status thrown = CallC10d(what_, [&] { done = wait_(*work_, *works_); });
    works_->Remove(id_);
    if (!thrown.ok() || !done) {
      // Whoever ended the work has left the reason; otherwise this is the first to see that the peer is gone.
      if (works_->failure().ok()) {
        works_->Fail(thrown.ok() ? EnvironmentError(reason::kPeerLost, what_ + ": the transfer was ended") : thrown);
      }
      result_ = works_->failure();
    }
    tensor_ = at::Tensor();
    return result_;
  }

 private:
  const std::string what_;
  at::Tensor tensor_;
  c10::intrusive_ptr<c10d::Work> work_;
  std::shared_ptr<PendingWorks> works_;
  std::function<bool(c10d::Work&, const PendingWorks&)> wait_;
  uint64_t id_;
  bool waited_ = false;
  absl::Status result_;
};

// Nothing to move.
class EmptyTransfer : public Transfer {
 public:
  absl::Status Wait() override { return absl::OkStatus(); }
};

}  // namespace

C10dGroup::C10dGroup(const Meeting& meeting, c10::intrusive_ptr<c10d::Backend> backend, at::DeviceType device,
                     WaitFunction wait)
    : rank_(meeting.options.rank),
      size_(meeting.options.size),
      device_(device),
      wait_(std::move(wait)),
      backend_(std::move(backend)),
      works_(std::make_shared<PendingWorks>()) {}

C10dGroup::~C10dGroup() {
  cancel_registration_.reset();
  works_->Close();
  watch_.reset();
}

absl::Status C10dGroup::Start(const Meeting& meeting, const CancellationToken& cancellation) {
  CALIPRESS_ASSIGN_OR_RETURN(watch_, PeerWatch::Start(meeting, works_));
  cancel_registration_ = cancellation.OnCancel([works = works_, cancellation] { works->Fail(cancellation.status()); });
  return works_->failure();
}

absl::Status C10dGroup::CheckTensor(const at::Tensor& tensor) const {
  if (tensor.device().type() != device_) {
    return DefectError("a tensor on " + tensor.device().str() + " was given to a group for " +
                       c10::DeviceTypeName(device_, /*lower_case=*/true));
  }
  if (!tensor.is_contiguous()) return DefectError("a tensor for a transfer is not contiguous");
  return absl::OkStatus();
}

absl::Status C10dGroup::CheckParts(const std::vector<at::Tensor>& parts) const {
  if (static_cast<int>(parts.size()) != size_) {
    return DefectError(std::to_string(parts.size()) + " parts were given to be gathered from " + std::to_string(size_) +
                       " ranks");
  }
  for (const at::Tensor& part : parts) CALIPRESS_RETURN_IF_ERROR(CheckTensor(part));
  return absl::OkStatus();
}

absl::Status C10dGroup::Check(const at::Tensor& tensor, int peer) const {
  if (peer < 0 || peer >= size_ || peer == rank_) {
    return DefectError("rank " + std::to_string(rank_) + " of " + std::to_string(size_) + " has no peer " +
                       std::to_string(peer));
  }
  return CheckTensor(tensor);
}

absl::StatusOr<std::unique_ptr<Transfer>> C10dGroup::Begin(
    const std::string& what, at::Tensor tensor, const std::function<c10::intrusive_ptr<c10d::Work>()>& start) {
  CALIPRESS_RETURN_IF_ERROR(works_->failure());
  c10::intrusive_ptr<c10d::Work> work;
  const absl::Status status = CallC10d(what, [&] { work = start(); });
  if (!status.ok()) {
    works_->Fail(status);
    return works_->failure();
  }
  return std::make_unique<C10dTransfer>(what, std::move(tensor), std::move(work), works_, wait_);
}

absl::StatusOr<std::unique_ptr<Transfer>> C10dGroup::Send(at::Tensor tensor, int to) {
  CALIPRESS_RETURN_IF_ERROR(Check(tensor, to));
  if (tensor.numel() == 0) return std::make_unique<EmptyTransfer>();
  return Begin("sending to rank " + std::to_string(to), tensor, [&] {
    std::vector<at::Tensor> tensors{tensor};
    return backend_->send(tensors, to, kTag);
  });
}

absl::StatusOr<std::unique_ptr<Transfer>> C10dGroup::Receive(at::Tensor tensor, int from) {
  CALIPRESS_RETURN_IF_ERROR(Check(tensor, from));
  if (tensor.numel() == 0) return std::make_unique<EmptyTransfer>();
  return Begin("receiving from rank " + std::to_string(from), tensor, [&] {
    std::vector<at::Tensor> tensors{tensor};
    return backend_->recv(tensors, from, kTag);
  });
}

void C10dGroup::Abort() { works_->Fail(absl::CancelledError("the group was aborted")); }

}  // namespace calipress::collective
