#pragma once

#include "absl/status/status.h"
#include "calipress/v1/job.pb.h"
#include "compress/base/clock.h"
#include "compress/storage/object_store.h"

namespace calipress::assembly {

// Removes the staging folder and the claim of a job that has ended; of one that did not succeed also what a publication
// cut short has moved already, and the output's folder where it is empty then. Safe to repeat.
absl::Status SweepOutput(storage::ObjectStore& store, const v1::CompressionJob& job, const Clock& clock);

}  // namespace calipress::assembly
