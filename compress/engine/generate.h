#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/calibration/model_oracle.h"
#include "compress/engine/context.h"

namespace calipress::engine {

// The original model writes, on all ranks: every one makes this call, with the same request. Sequences in groups of
// model::kDecodeRows rows; as many groups are under way as keep all stages busy and as the memory budgets hold. Rank 0
// embeds, hidden rows go from stage to stage, the last rank samples and tells rank 0. Replicas write a share each. The
// sequences do not depend on how they are divided, nor on the number of ranks. Rank 0 gets them; the others nothing.
//
// INSUFFICIENT_MEMORY, on all ranks, where the blocks of one and the tokens of a group do not fit its budget: blocks
// that are read again for every token would take hours. NON_FINITE_ACTIVATIONS where the model's logits are.
//
// `progress`: tokens written so far by this rank's sequences, of at most so many.
struct Generated {
  std::vector<calibration::ScoredSequence> sequences;
  int64_t written = 0;
};
absl::StatusOr<Generated> GenerateOnStages(StageContext& context, const calibration::GenerationRequest& request,
                                           const std::function<void(int64_t written, int64_t most)>& progress);

}  // namespace calipress::engine
