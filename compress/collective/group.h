#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/base/cancellation.h"

namespace calipress::collective {

// A transfer under way. The tensor is kept alive until Wait returns or the object goes.
class Transfer {
 public:
  virtual ~Transfer() = default;
  // Blocks until the transfer is done. PEER_LOST (environment) where the other side is gone; the token's status where
  // it is cancelled meanwhile; the group is unusable after either.
  virtual absl::Status Wait() = 0;
};

// The workers of one attempt. Methods may be called from one thread at a time; transfers may be waited for on another.
// Every call of one rank must have its counterpart on the other, in the same order.
class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Contiguous tensors of equal shape and dtype on both sides.
  virtual absl::StatusOr<std::unique_ptr<Transfer>> Send(at::Tensor tensor, int to) = 0;
  virtual absl::StatusOr<std::unique_ptr<Transfer>> Receive(at::Tensor tensor, int from) = 0;
  // Sums in place, over all ranks.
  virtual absl::Status AllReduceSum(at::Tensor tensor) = 0;
  // Takes the larger of each element in place, over all ranks.
  virtual absl::Status AllReduceMax(at::Tensor tensor) = 0;
  // parts[r] is rank r's: what it brings there, where that goes on the others. Contiguous; a part has one shape and
  // dtype on all ranks, different parts may have different ones, and be empty (one that is not: a broadcast).
  virtual absl::Status AllGather(std::vector<at::Tensor> parts) = 0;
  virtual absl::Status Barrier() = 0;
  // Ends every transfer under way, here, with an error; then the group is unusable. Any thread.
  virtual void Abort() = 0;
};

// The store through which the ranks of a gang find each other; a worker holds one for its whole life and is the
// meeting point of the gangs in which it is rank 0.
class Rendezvous {
 public:
  virtual ~Rendezvous() = default;
  virtual int port() const = 0;
  // Listens on a port that the system picks (0) or on `port`.
  static absl::StatusOr<std::unique_ptr<Rendezvous>> Listen(int port);
};

struct GroupOptions {
  std::string rendezvous;  // "host:port" of rank 0's store
  std::string key;         // job and attempt: separates gangs on one store
  int rank = 0;
  int size = 1;
  std::string host;             // the address that peers reach this worker at
  double timeout_seconds = 60;  // to meet; transfers wait as long as the token lets them
};

// "gloo" for CPU tensors; "nccl" for CUDA tensors, where the CUDA module is loaded. Size 1 needs neither: a group
// without peers.
absl::StatusOr<std::unique_ptr<Group>> JoinGroup(const std::string& backend, const GroupOptions& options,
                                                 const CancellationToken& cancellation);
bool IsAvailable(const std::string& backend);

}  // namespace calipress::collective
