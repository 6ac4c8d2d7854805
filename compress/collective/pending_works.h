#pragma once

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>

#include "absl/status/status.h"

namespace calipress::collective {

// The works of a group that are under way, and the one failure that ends them all. Thread-safe.
class PendingWorks {
 public:
  // `abort` ends what a single work cannot end (NCCL's kernels); runs once, in Fail.
  explicit PendingWorks(std::function<void()> abort = nullptr) : abort_(std::move(abort)) {}

  // After a failure the work is ended at once.
  uint64_t Add(c10::intrusive_ptr<c10d::Work> work);
  void Remove(uint64_t id);

  // The first failure stays. Ends every work under way; does not wait for their waiters.
  void Fail(const absl::Status& failure);
  absl::Status failure() const;

 private:
  std::function<void()> abort_;
  mutable std::mutex mutex_;
  absl::Status failure_;
  uint64_t next_id_ = 0;
  std::map<uint64_t, c10::intrusive_ptr<c10d::Work>> works_;
};

}  // namespace calipress::collective
