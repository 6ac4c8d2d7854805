#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/calibration/model_oracle.h"
#include "compress/engine/context.h"

namespace calipress::engine {

// -log p of every token but the first of each sequence under the original model, on all ranks: every one makes this
// call, with the same sequences. Micro-batches of sequences of about one length, padded to the right, stream through
// the stages; replicas take whole micro-batches each, so that no sequence's figure depends on their number. Rank 0 gets
// the scores, in the order of the sequences; the others nothing of use. NON_FINITE_ACTIVATIONS where the model's logits
// are. `progress`: tokens so far, and in all.
absl::StatusOr<std::vector<calibration::ScoredSequence>> ScoreOnStages(
    StageContext& context, std::vector<std::vector<int64_t>> sequences,
    const std::function<void(int64_t done, int64_t all)>& progress);

}  // namespace calipress::engine
