#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/job.pb.h"
#include "calipress/v1/report.pb.h"
#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/storage/object_store.h"
#include "server/assembly/checkpoint_design.h"

namespace calipress::assembly {

// The checkpoints of a study that keeps several runs, in the report's order, each with a report of its own: read from
// what the ranks have left of each run. A run whose files are gone is an environment error.
absl::StatusOr<std::vector<Checkpoint>> KeptCheckpoints(storage::ObjectStore& store, const v1::CompressionJob& job,
                                                        const std::vector<worker::v1::KeptRun>& kept,
                                                        const v1::Report& report);

}  // namespace calipress::assembly
