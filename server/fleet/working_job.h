#pragma once

#include <map>
#include <string>
#include <vector>

#include "calipress/v1/job.pb.h"
#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/base/clock.h"
#include "server/fleet/progress.h"
#include "server/scheduler/scheduler.h"
#include "server/store/job_store.h"

namespace calipress::fleet {

// A job that has not ended, as the coordinator holds it: what is shown to people, what its workers have said, and what
// the store has yet to hear. Not thread-safe.
struct WorkingJob {
  v1::CompressionJob job;
  // What each rank of the newest attempt said last, by rank (finished blocks aside).
  std::vector<worker::v1::StageState> ranks;
  // Phases of earlier attempts, and runs of a study that all of their ranks finished, or wrote as checkpoints.
  worker::v1::StageState earlier;
  // By index; the first accepted stays.
  std::map<int, store::BlockRow> blocks;
  std::string calibration_ids_uri;

  // The next change of the store, and whether there is one.
  store::JobChange change;
  bool changed = false;

  // What the newest event said of progress, and when one was last made for progress alone.
  v1::Progress told;
  Clock::SteadyTime last_progress_event;
  // Publication: tries so far, and when the next one is due.
  int publish_tries = 0;
  Clock::SteadyTime publish_at;
  bool publishing = false;

  // Marks the job itself as changed; sets update_time and etag.
  void Touch(Clock::WallTime now);
  // Adds an event with the job as it is now, and touches it.
  void AddEvent(Clock::WallTime now, const std::string& message);
  // What the store should know of the attempt.
  void KeepAttempt(const scheduler::Attempt& attempt);

  // The newest attempt's ranks with their shares.
  std::vector<RankProgress> RankShares(const scheduler::Attempt& attempt) const;
  // Recomputes job.progress; the fraction never falls while the attempt is the same.
  void UpdateProgress(const scheduler::Attempt& attempt);
  // The first block that nobody has finished.
  int FirstUnfinishedBlock() const;
  // In block order. `before_attempt` > 0: only those of earlier attempts.
  std::vector<worker::v1::FinishedBlock> Blocks(int before_attempt = 0) const;
};

void SetTimestamp(Clock::WallTime time, google::protobuf::Timestamp* timestamp);
Clock::WallTime ReadTimestamp(const google::protobuf::Timestamp& timestamp);

// "gptq", "rtn", ...: the methods of a recipe as a metric label; "mixed" for several, "study", "evaluate" for none.
std::string MethodLabel(const v1::Recipe& recipe);

// What the scheduler needs to know, and what it needs to go on after a restart.
scheduler::JobSpec SpecOf(const v1::CompressionJob& job);
scheduler::Job RestoredJob(const store::ActiveJob& stored);

}  // namespace calipress::fleet
