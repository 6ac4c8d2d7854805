#pragma once

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "absl/status/status.h"

namespace calipress::collective {

// The works of a group that are under way, and the one failure that ends them all. Thread-safe. Shared by the group
// and its transfers, which may live longer than it.
class PendingWorks {
 public:
  // After a failure the work is ended at once.
  uint64_t Add(c10::intrusive_ptr<c10d::Work> work);
  void Remove(uint64_t id);

  // The first failure stays. Ends every work under way, then runs the hooks; does not wait for the works' waiters.
  void Fail(const absl::Status& failure);
  absl::Status failure() const;

  // `hook` runs once, on the thread that calls Fail (at once where that was before); it must not block.
  void OnFailure(std::function<void()> hook);
  // Forgets the hooks; waits for running ones. What is added from now on fails.
  void Close();

 private:
  mutable std::mutex mutex_;
  absl::Status failure_;
  uint64_t next_id_ = 0;
  std::map<uint64_t, c10::intrusive_ptr<c10d::Work>> works_;

  // Taken before mutex_, held while hooks run.
  std::mutex hooks_mutex_;
  std::vector<std::function<void()>> hooks_;
};

}  // namespace calipress::collective
