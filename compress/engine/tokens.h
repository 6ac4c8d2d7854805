#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/calibration/source.h"
#include "compress/engine/context.h"
#include "compress/engine/hidden_stream.h"

namespace calipress::engine {

// Rank 0 makes (or reads again) the calibration ids, leaves them in the staging folder, and tells every rank their
// shape. `ids` is defined on rank 0 alone: int64 [sequences, length] on the stage's device.
struct SharedTokens {
  MicroBatches batches;
  at::Tensor ids;
};
absl::StatusOr<SharedTokens> ShareCalibrationTokens(StageContext& context);

// The windows of a perplexity text: `ids` is defined on rank 0 (which embeds) and on the last rank (which scores).
absl::StatusOr<SharedTokens> ShareEvaluationTokens(StageContext& context, const v1::Perplexity& text);

}  // namespace calipress::engine
