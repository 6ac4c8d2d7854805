#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calipress/v1/job.pb.h"
#include "compress/base/clock.h"
#include "compress/storage/object_store.h"

namespace calipress::assembly {

// Who may publish into an output, among coordinators that know nothing of one another.
//
// Each writes a claim, `_calipress/claim-<uid>.json`, looks for those of others only then, and goes on only where it
// sees none: whichever of two writes second sees the first one's (reads of our stores follow writes). No conditional
// write is needed, which Arrow's file systems do not have. Where two see each other, the greater uid withdraws.
//
// A claim names its job and when it was renewed. One that was not for an hour, or whose job's staging folder is gone,
// is stale: its job is dead or swept. A job whose claim was taken over meanwhile finds it gone, and publishes no more.
class OutputClaim {
 public:
  // For how long another claim is waited for: `looks` times, and twice as often by a job that has begun to publish.
  struct Patience {
    double pause_seconds = 0.2;
    int looks = 50;
  };

  // All outlive it. `job` has an output.
  OutputClaim(storage::ObjectStore& store, const v1::CompressionJob& job, const Clock& clock, Patience patience);

  // False where the job has none, or lost it.
  absl::StatusOr<bool> IsThere() const;

  // `begun`: the job has put files into the output already, under this claim. OUTPUT_EXISTS where another job has the
  // output or gets it; the claim is withdrawn then.
  absl::Status Take(bool begun);
  // Once it is taken and nothing lies in the output that forbids going on: other jobs' stale claims go.
  absl::Status RemoveStale();
  // To be called now and then while publishing: OUTPUT_EXISTS where it was taken over.
  absl::Status Keep();
  // The last look: it is there, and no other.
  absl::Status Confirm();
  // Once the job is over, however it ended.
  absl::Status Remove();

 private:
  struct Other {
    std::string uri;
    std::string uid;
    std::string name;
    bool stale = false;
  };

  absl::Status Write();
  absl::StatusOr<std::vector<Other>> Others() const;
  absl::StatusOr<std::vector<Other>> LiveOthers() const;
  absl::StatusOr<Other> Read(const std::string& uri, const std::string& uid, bool staged) const;
  absl::Status WaitForOthers(bool begun);
  // Withdraws, and says so.
  absl::Status LoseTo(const Other& other);
  absl::Status Lost(const std::string& to) const;

  storage::ObjectStore& store_;
  const v1::CompressionJob& job_;
  const Clock& clock_;
  const Patience patience_;
  const std::string folder_;
  const std::string uri_;
  Clock::WallTime written_;
};

}  // namespace calipress::assembly
