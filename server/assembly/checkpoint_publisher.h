#pragma once

#include <vector>

#include "absl/status/status.h"
#include "compress/base/clock.h"
#include "compress/storage/object_store.h"
#include "server/assembly/output_claim.h"
#include "server/fleet/publisher.h"

namespace calipress::assembly {

// Publishes checkpoints in Hugging Face's layout:
//
//   model.safetensors | model-0000i-of-0000n.safetensors + model.safetensors.index.json
//   tokenizer, chat template, generation defaults, code and licence of the source
//   recipe.yaml  report.json  report.html  calibration_ids.npy  imatrix.gguf (where the recipe asks for it)
//   config.json                                      <- last
//
// A study adds study.csv, study_comparisons.csv, study_runs.csv, study.json, study.md, study.yaml and the ids of its
// draws in calibration/. One that keeps no run publishes these, report.html and report.json alone; one that keeps
// several has them at the root, and each checkpoint whole in a folder of runs/.
//
// A loader starts at config.json, so that it finds a whole checkpoint or none. Weights are moved, never read.
// Of several jobs that publish into one output at once, also of different coordinators, one succeeds (OutputClaim).
// Thread-safe as far as the store is; `store` and `clock` outlive it.
class CheckpointPublisher : public fleet::Publisher {
 public:
  explicit CheckpointPublisher(storage::ObjectStore* store, const Clock& clock = Clock::System(),
                               OutputClaim::Patience patience = {})
      : store_(*store), clock_(clock), patience_(patience) {}

  // OUTPUT_EXISTS where files that are not this job's lie in the output (weights, or one of the names above), or where
  // another job publishes there.
  absl::Status Publish(const v1::CompressionJob& job, const std::vector<worker::v1::StageOutcome>& outcomes,
                       const std::vector<worker::v1::FinishedBlock>& blocks,
                       const std::vector<worker::v1::KeptRun>& kept, v1::Report* report) override;

  // Of a job that did not succeed also what a publication cut short has moved already, and the output's folder where it
  // is empty then.
  absl::Status Sweep(const v1::CompressionJob& job) override;

 private:
  storage::ObjectStore& store_;
  const Clock& clock_;
  const OutputClaim::Patience patience_;
};

}  // namespace calipress::assembly
