#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/calibration/source.h"
#include "compress/engine/calibration_files.h"
#include "compress/engine/context.h"
#include "compress/engine/domain_statistics.h"
#include "compress/engine/hidden_stream.h"
#include "compress/engine/mixing_plan.h"

namespace calipress::engine {

// The model's own.
absl::StatusOr<std::unique_ptr<tokenizer::Tokenizer>> OpenTokenizer(StageContext& context);

// Rank 0 makes (or reads again) the calibration ids, leaves them at `place`, and tells every rank their shape. `ids` is
// defined on rank 0 alone: int64 [sequences, length] on the stage's device. Replicas have their share of the sequences
// each, with its ids.
struct SharedTokens {
  MicroBatches batches;  // of the sequences that pass through this rank
  at::Tensor ids;
  int64_t all_sequences = 0;  // of the set
  int64_t first_sequence = 0;
  std::vector<int64_t> source_sequences;  // of the set, by source of the recipe; empty for windows of a text
  MixingPlan mixing;

  SetPosition position() const { return {all_sequences * batches.length, batches.length, first_sequence}; }
};
absl::StatusOr<SharedTokens> ShareCalibrationTokens(StageContext& context, const CalibrationPlace& place);

// The windows of a perplexity text: `ids` is defined on rank 0 (which embeds) and on the last rank (which scores);
// replicas have their share each.
absl::StatusOr<SharedTokens> ShareEvaluationTokens(StageContext& context, const v1::Perplexity& text);

}  // namespace calipress::engine
