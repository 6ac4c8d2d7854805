#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace calipress::scheduler {

using Time = std::chrono::steady_clock::time_point;

// What a worker may do for one rank of one attempt. Numbers are stored (store::LeaseRow::state): add, never renumber.
enum class LeaseState {
  kLive = 1,      // the worker should be computing
  kStopping = 2,  // withdrawn; the worker has not said yet that it stopped
  kDone = 3,      // reported OK
  kFailed = 4,    // reported a failure
  kStopped = 5,   // stopped because it was withdrawn
  kLost = 6,      // not heard of for too long, replaced by a second life, or given up
};

struct Lease {
  int rank = 0;
  // Unguessable; sent back with every report.
  std::string token;
  std::string worker_id;
  std::string session_id;
  std::string device;
  int first_block = 0;
  int end_block = 0;
  LeaseState state = LeaseState::kLive;
  // Why, for kFailed.
  absl::Status failure;
  // When its worker last synchronised.
  Time last_heard;
  // The worker has reported this lease at least once.
  bool taken_up = false;

  // The worker may still be writing under this lease.
  bool Open() const { return state == LeaseState::kLive || state == LeaseState::kStopping; }
};

// Numbers are stored (store::AttemptRow::phase).
enum class AttemptPhase {
  kRunning = 1,
  kStopping = 2,    // some rank failed or was lost, or the job is being cancelled: waits for the others to stop
  kPublishing = 3,  // every rank is done
  kEnded = 4,
};

// One try of a job's plan by a gang of workers.
struct Attempt {
  // From 1.
  int number = 0;
  AttemptPhase phase = AttemptPhase::kEnded;
  // "host:port" of rank 0's rendezvous store.
  std::string rendezvous;
  // In rank order.
  std::vector<Lease> leases;

  // Its workers are not free for anything else.
  bool HoldsWorkers() const { return phase == AttemptPhase::kRunning || phase == AttemptPhase::kStopping; }
};

enum class AttemptOutcome { kSucceeded, kLost, kFailed, kFailedForGood, kCancelled };
std::string_view AttemptOutcomeName(AttemptOutcome outcome);  // "succeeded", "lost", "failed", "failed", "cancelled"

// What an attempt without open leases came to.
struct Verdict {
  AttemptOutcome outcome = AttemptOutcome::kLost;
  // Not OK unless kSucceeded.
  absl::Status cause;
  // Of kLost leases, in rank order.
  std::vector<std::string> lost_workers;
};

// Looks at all ranks, since the first report is often not the root: a rank that failed makes its peers report
// PEER_LOST, a dead one is noticed last. A failure of class user decides; then a lost worker; then a defect, then
// another environment failure; PEER_LOST alone (nobody was lost: the network between workers) counts as failed.
Verdict Judge(const Attempt& attempt);

}  // namespace calipress::scheduler
