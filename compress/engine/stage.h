#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/base/cancellation.h"
#include "compress/storage/object_store.h"

namespace calipress::collective {
class Group;
}

namespace calipress::engine {

// Hears of a stage's progress. OnBlockFinished may come from another thread than the rest; calls return quickly.
class StageObserver {
 public:
  virtual ~StageObserver() = default;
  // `fraction` of the phase on this stage, 0 to 1.
  virtual void OnProgress(const std::string& phase, double fraction, const std::string& message) = 0;
  // The block's file is complete in the staging folder.
  virtual void OnBlockFinished(const worker::v1::FinishedBlock& block) = 0;
  virtual void OnPhaseFinished(const v1::PhaseReport& phase) = 0;
  // Of a study: this rank is done with the run.
  virtual void OnRunFinished(const worker::v1::FinishedRun& /*run*/) {}
  // Of a study that keeps several runs: one of them is whole in the staging folder, on all ranks.
  virtual void OnRunKept(const worker::v1::KeptRun& /*run*/) {}
};

// Where and how a stage computes.
struct StageEnvironment {
  storage::ObjectStore& store;
  collective::Group& group;
  std::string device = "cpu";
  // What the stage may use for windows of blocks streamed at once (propagation: original); bytes.
  int64_t memory_budget = int64_t{4} << 30;
};

// Runs one stage of one attempt to its end: calibration tokens, compression block by block, evaluation, assembly of
// its share of the shards. Blocks until done, failed or cancelled. The outcome's status is OK (failures are the
// returned status). The files it wrote under `staging_uri` stay; the coordinator publishes or removes them.
//
// The bytes it writes do not depend on how blocks are split into stages.
absl::StatusOr<worker::v1::StageOutcome> RunStage(const worker::v1::Assignment& assignment,
                                                  StageEnvironment& environment, StageObserver& observer,
                                                  const CancellationToken& cancellation);

}  // namespace calipress::engine
