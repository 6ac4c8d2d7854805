#pragma once

#include <vector>

#include "absl/status/status.h"
#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"
#include "calipress/worker/v1/worker_service.pb.h"

namespace calipress::fleet {

// Turns what a job's workers left in its staging folder into the job's result. Implemented in server/assembly; the
// coordinator calls it from one thread of its own, never under its lock.
class Publisher {
 public:
  virtual ~Publisher() = default;

  // Makes the output visible: index, configs, tokenizer files, recipe, report.json and report.html beside the workers'
  // shards, by condition (readers see a whole checkpoint or none). `outcomes` are those of the last attempt's ranks, in
  // rank order; `blocks` are all finished blocks in block order (with their linears); `kept` says where the runs are
  // staged that a study keeps, where it keeps several. A job without output has none of it and publishes nothing: only
  // the report is completed.
  //
  // `report` arrives with everything that workers reported: phases, linears, evaluations, tasks, calibration, warnings,
  // peak_memory_bytes, and total_seconds up to now. Publish adds source_bytes, output_bytes and what it did itself.
  //
  // Idempotent: the coordinator may die at any point and call it again for the same job (same uid, same outcomes),
  // also where the first call had finished; that is then OK with the same report. Failures whose class is environment
  // are tried again a few times; all others fail the job.
  virtual absl::Status Publish(const v1::CompressionJob& job, const std::vector<worker::v1::StageOutcome>& outcomes,
                               const std::vector<worker::v1::FinishedBlock>& blocks,
                               const std::vector<worker::v1::KeptRun>& kept, v1::Report* report) = 0;

  // Removes the job's staging folder, StagingRoot(job) in staging.h. Called once the job has ended, whichever way, and
  // again after a failure or a restart.
  virtual absl::Status Sweep(const v1::CompressionJob& job) = 0;
};

}  // namespace calipress::fleet
