#include "server/scheduler/attempt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/base/error.h"

namespace calipress::scheduler {
namespace {

// Lower decides before higher.
int Precedence(const absl::Status& failure) {
  if (ErrorReason(failure) == reason::kPeerLost) return 3;
  switch (ErrorClassOf(failure)) {
    case ErrorClass::kUser:
      return 0;
    case ErrorClass::kDefect:
      return 1;
    case ErrorClass::kEnvironment:
      return 2;
  }
  return 2;
}

}  // namespace

std::string_view AttemptOutcomeName(AttemptOutcome outcome) {
  switch (outcome) {
    case AttemptOutcome::kSucceeded:
      return "succeeded";
    case AttemptOutcome::kLost:
      return "lost";
    case AttemptOutcome::kFailed:
    case AttemptOutcome::kFailedForGood:
      return "failed";
    case AttemptOutcome::kCancelled:
      return "cancelled";
  }
  return "failed";
}

Verdict Judge(const Attempt& attempt) {
  Verdict verdict;
  const Lease* worst = nullptr;
  bool all_done = true;
  for (const Lease& lease : attempt.leases) {
    if (lease.state != LeaseState::kDone) all_done = false;
    if (lease.state == LeaseState::kLost) verdict.lost_workers.push_back(lease.worker_id);
    if (lease.state != LeaseState::kFailed) continue;
    if (worst == nullptr || Precedence(lease.failure) < Precedence(worst->failure)) worst = &lease;
  }
  if (all_done) {
    verdict.outcome = AttemptOutcome::kSucceeded;
    return verdict;
  }
  if (worst != nullptr && Precedence(worst->failure) == 0) {
    verdict.outcome = AttemptOutcome::kFailedForGood;
    verdict.cause = worst->failure;
    return verdict;
  }
  if (worst == nullptr || !verdict.lost_workers.empty()) {
    verdict.outcome = AttemptOutcome::kLost;
    verdict.cause = EnvironmentError(reason::kWorkerLost,
                                     verdict.lost_workers.empty()
                                         ? std::string("its workers were stopped")
                                         : absl::StrCat(verdict.lost_workers.size() == 1 ? "worker " : "workers ",
                                                        absl::StrJoin(verdict.lost_workers, ", "),
                                                        verdict.lost_workers.size() == 1 ? " was lost" : " were lost"));
    return verdict;
  }
  verdict.outcome = AttemptOutcome::kFailed;
  verdict.cause = Annotate(worst->failure, absl::StrCat("worker ", worst->worker_id).c_str());
  return verdict;
}

}  // namespace calipress::scheduler
