#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/engine/context.h"

namespace calipress::engine {

// A tensor of the finished checkpoint, and where its bytes are.
struct PlannedTensor {
  checkpoint::TensorPlan tensor;
  int64_t block = -1;  // in that block's staged file; -1: in the source model, perhaps in another dtype
};

struct PlannedShard {
  std::string file;  // "model.safetensors" where it is the only one, "model-00001-of-00003.safetensors" otherwise
  std::vector<PlannedTensor> tensors;
};

// The finished checkpoint's files: embedding, blocks in order, final norm, head, anything else that the source has;
// filled greedily to `max_shard_bytes` of tensor data. Tensors that loaders make themselves (rotary tables, a head that
// is tied to the embedding) are left out. `blocks` has the tensors of each block's staged file in its order: how many
// bytes a block takes may show only when it is solved. Numbers lie on multiples of their size. The same on every rank.
std::vector<PlannedShard> PlanShards(const OpenModel& model, const v1::Recipe& recipe,
                                     const std::vector<std::vector<checkpoint::TensorPlan>>& blocks);

}  // namespace calipress::engine
