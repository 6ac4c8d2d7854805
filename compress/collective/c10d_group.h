#pragma once

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compress/collective/group.h"
#include "compress/collective/meeting.h"
#include "compress/collective/peer_watch.h"
#include "compress/collective/pending_works.h"

namespace calipress::collective {

// What every c10d backend shares: transfers, their failure, cancellation and the watch over the peers. Subclasses say
// how a work is waited for and how values are summed.
class C10dGroup : public Group {
 public:
  ~C10dGroup() override;
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  absl::StatusOr<std::unique_ptr<Transfer>> Send(at::Tensor tensor, int to) override;
  absl::StatusOr<std::unique_ptr<Transfer>> Receive(at::Tensor tensor, int from) override;
  void Abort() override;

 protected:
  // Blocks until the work is done; false where it was ended from here, an exception where it failed.
  using WaitFunction = std::function<bool(c10d::Work& work, const PendingWorks& works)>;

  C10dGroup(const Meeting& meeting, c10::intrusive_ptr<c10d::Backend> backend, at::DeviceType device,
            WaitFunction wait);

  // Starts the watch over the peers and listens to the token; called once by the factory.
  absl::Status Start(const Meeting& meeting, const CancellationToken& cancellation);

  // `start` puts a work on the backend.
  absl::StatusOr<std::unique_ptr<Transfer>> Begin(const std::string& what, at::Tensor tensor,
                                                  const std::function<c10::intrusive_ptr<c10d::Work>()>& start);
  absl::Status CheckTensor(const at::Tensor& tensor) const;
  // Of an all-gather: one per rank.
  absl::Status CheckParts(const std::vector<at::Tensor>& parts) const;

  c10d::Backend& backend() { return *backend_; }
  PendingWorks& works() { return *works_; }

 private:
  absl::Status Check(const at::Tensor& tensor, int peer) const;

  int rank_;
  int size_;
  at::DeviceType device_;
  WaitFunction wait_;
  c10::intrusive_ptr<c10d::Backend> backend_;
  std::shared_ptr<PendingWorks> works_;
  std::unique_ptr<PeerWatch> watch_;
  std::shared_ptr<void> cancel_registration_;
};

}  // namespace calipress::collective
