#include "compress/collective/peer_watch.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <chrono>
#include <string>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/thread.h"
#include "compress/collective/c10d_call.h"
#include "compress/collective/gloo_backend.h"

namespace calipress::collective {
namespace {

constexpr uint8_t kLeaving = 0;
constexpr uint8_t kGivingUp = 1;
constexpr int kTag = 0;
// A goodbye is a byte into a socket whose other end is read by a thread of its own.
constexpr std::chrono::milliseconds kGoodbye{1000};

}  // namespace

absl::StatusOr<std::unique_ptr<PeerWatch>> PeerWatch::Start(const Meeting& meeting,
                                                            std::shared_ptr<PendingWorks> works) {
  CALIPRESS_ASSIGN_OR_RETURN(auto backend, ConnectGloo(meeting, "watch"));
  auto watch = std::unique_ptr<PeerWatch>(
      new PeerWatch(std::move(backend), meeting.options.rank, meeting.options.size, std::move(works)));
  CALIPRESS_RETURN_IF_ERROR(CallC10d("cannot watch the peers", [&] {
    for (Line& line : watch->lines_) {
      std::vector<at::Tensor> tensors{line.byte};
      line.receive = watch->backend_->recv(tensors, line.peer, kTag);
    }
  }));
  for (size_t i = 0; i < watch->lines_.size(); ++i) {
    const int peer = watch->lines_[i].peer;
    watch->threads_.push_back(
        StartThread("peer-watch-" + std::to_string(peer), [w = watch.get(), peer, i] { w->Watch(peer, i); }));
  }
  watch->works_->OnFailure([w = watch.get()] { w->Tell(kGivingUp); });
  return watch;
}

PeerWatch::PeerWatch(c10::intrusive_ptr<c10d::Backend> backend, int rank, int size, std::shared_ptr<PendingWorks> works)
    : backend_(std::move(backend)), works_(std::move(works)) {
  for (int peer = 0; peer < size; ++peer) {
    if (peer != rank) lines_.push_back({peer, at::full({1}, kGivingUp, at::kByte), nullptr});
  }
}

PeerWatch::~PeerWatch() {
  Tell(kLeaving);  // nothing where the peers were told of a failure already
  for (const auto& send : sends_) {
    // A peer that has gone cannot be told, and need not be.
    (void)CallC10d("goodbye", [&] { send->wait(kGoodbye); });
  }
  for (Line& line : lines_) {
    if (line.receive) (void)CallC10d("end of watch", [&] { line.receive->abort(); });
  }
  threads_.clear();  // joins
}

void PeerWatch::Watch(int peer, size_t index) {
  Line& line = lines_[index];
  bool received = false;
  const absl::Status status = CallC10d("connection", [&] { received = line.receive->wait(kNoTimeLimit); });
  if (status.ok() && !received) return;  // this rank leaves
  if (status.ok() && *line.byte.const_data_ptr<uint8_t>() == kLeaving) return;
  works_->Fail(
      EnvironmentError(reason::kPeerLost,
                       "rank " + std::to_string(peer) +
                           (status.ok() ? " gave up its stage" : " is gone: its connection ended without a goodbye")));
}

void PeerWatch::Tell(uint8_t byte) {
  std::lock_guard lock(mutex_);
  if (told_) return;
  told_ = true;
  const at::Tensor message = at::full({1}, byte, at::kByte);
  for (const Line& line : lines_) {
    (void)CallC10d("goodbye", [&] {
      std::vector<at::Tensor> tensors{message};
      sends_.push_back(backend_->send(tensors, line.peer, kTag));
    });
  }
}

}  // namespace calipress::collective
