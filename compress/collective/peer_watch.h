#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/collective/meeting.h"
#include "compress/collective/pending_works.h"

namespace calipress::collective {

// Notices that a rank has gone, also while nothing is being sent to or received from it: on a connection of its own to
// every peer, a receive is always posted. It ends with one byte (the peer leaves in good order, or gives up) or with
// the connection. A rank that gives up or is lost fails `works` with PEER_LOST; a failure of `works` is told to the
// peers at once, so that a gang ends together and not one after the other.
class PeerWatch {
 public:
  static absl::StatusOr<std::unique_ptr<PeerWatch>> Start(const Meeting& meeting, std::shared_ptr<PendingWorks> works);

  // Takes leave of the peers: in good order unless `works` has failed. `works` must have been closed before.
  ~PeerWatch();

 private:
  PeerWatch(c10::intrusive_ptr<c10d::Backend> backend, int rank, int size, std::shared_ptr<PendingWorks> works);
  void Watch(int peer, size_t index);
  // Sends the byte to every peer, once; does not wait.
  void Tell(uint8_t byte);

  struct Line {
    int peer;
    at::Tensor byte;
    c10::intrusive_ptr<c10d::Work> receive;
  };

  c10::intrusive_ptr<c10d::Backend> backend_;
  std::shared_ptr<PendingWorks> works_;
  std::vector<Line> lines_;

  std::mutex mutex_;
  bool told_ = false;
  std::vector<c10::intrusive_ptr<c10d::Work>> sends_;

  std::vector<std::jthread> threads_;
};

}  // namespace calipress::collective
