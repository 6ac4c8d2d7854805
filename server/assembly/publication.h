#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"
#include "compress/storage/object_store.h"
#include "server/assembly/checkpoint_design.h"
#include "server/assembly/output_claim.h"

namespace calipress::assembly {

// Everything that one job puts into its output.
struct Publication {
  const v1::CompressionJob& job;
  std::vector<Checkpoint> checkpoints;
  // Of a study: name and text of each table, and names of the calibration sets (recipe::CalibrationSetFile), which are
  // staged by these names.
  std::vector<std::pair<std::string, std::string>> tables;
  std::vector<std::string> sets;

  // The output is the checkpoint: its config.json comes last of all. Otherwise the job's own report.json does.
  bool IsCheckpoint() const { return checkpoints.size() == 1 && checkpoints.front().folder.empty(); }
  // Names below the output.
  std::set<std::string> Files() const;
};

// Puts it there: everything else, then each checkpoint with its config.json last, then the report. Safe to repeat: what
// is there already is not moved or written twice, and a publication that was complete gives its report back.
// OUTPUT_EXISTS where files that are not the job's are in the way, or another job publishes there: `claim` is this
// job's.
absl::Status Put(storage::ObjectStore& store, const Publication& publication, OutputClaim& claim, v1::Report* report);

// A folder in which no file is left.
absl::Status DeleteIfEmpty(storage::ObjectStore& store, const std::string& folder);

// Takes back what a publication that did not come to its end has put into the output. Without its claim the job has
// lost the output, and these names are another's.
absl::Status TakeBack(storage::ObjectStore& store, const v1::CompressionJob& job, const OutputClaim& claim);

}  // namespace calipress::assembly
