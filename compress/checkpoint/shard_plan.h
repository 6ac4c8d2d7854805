#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "compress/arch/arch.h"
#include "compress/checkpoint/safetensors.h"

namespace calipress::checkpoint {

inline constexpr int64_t kDefaultShardBytes = 5'000'000'000;

// A tensor of a finished checkpoint, and where its bytes come from.
struct PlannedTensor {
  TensorPlan tensor;
  int64_t block = -1;  // of that block, made anew; -1: of the source model, perhaps in another dtype
};

struct PlannedShard {
  std::string file;  // "model.safetensors" where it is the only one, "model-00001-of-00003.safetensors" otherwise
  std::vector<PlannedTensor> tensors;
};

// The finished checkpoint's files: embedding, blocks in order, final norm, head, anything else that the source has but
// `replaced`; filled greedily to `limit` bytes of tensor data. Tensors that loaders make themselves (rotary tables, a
// head that is tied to the embedding) are left out. `blocks` has the tensors of each block in its order: how many bytes
// a block takes may show only when it is solved. `stored` is the dtype that a tensor of the source is written in.
// Numbers lie on multiples of their size. The same wherever it is planned.
std::vector<PlannedShard> PlanShards(const arch::ArchSpec& spec, const ModelReader& source,
                                     const std::vector<std::vector<TensorPlan>>& blocks, int64_t limit,
                                     const std::function<Dtype(Dtype)>& stored,
                                     const std::set<std::string>& replaced = {});

}  // namespace calipress::checkpoint
