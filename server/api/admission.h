#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calipress/v1/compression_service.pb.h"
#include "calipress/v1/job.pb.h"
#include "compress/storage/object_store.h"

namespace calipress::api {

// Decides whether a job can run, before it takes anybody's time: reads config.json, tensor headers and the tokenizer,
// and looks whether the data and the output are as they should be. Blocks on storage; thread-safe.
class Admission {
 public:
  explicit Admission(storage::ObjectStore* store) : store_(*store) {}

  // A copy of the job (which passed CheckCreate) with its recipe resolved and its estimate set. `workers`: those known
  // now; where all that could take the job are too small for it, it is refused with the numbers.
  //
  // SOURCE_MODEL_NOT_FOUND, SOURCE_MODEL_CORRUPT, UNSUPPORTED_MODEL, UNSUPPORTED_COMBINATION (a quantized model),
  // INVALID_RECIPE and INVALID_CALIBRATION_DATA with every violation, OUTPUT_EXISTS, INSUFFICIENT_MEMORY.
  absl::StatusOr<v1::CompressionJob> Admit(const v1::CompressionJob& job,
                                           const std::vector<v1::WorkerInfo>& workers) const;

 private:
  storage::ObjectStore& store_;
};

}  // namespace calipress::api
