#pragma once

#include <array>
#include <map>
#include <string>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "compress/engine/context.h"
#include "compress/method/method.h"
#include "compress/model/block.h"

namespace calipress::engine {

// After the leader has transformed a block: gives every replica the tensors that changed, and the statistics as the
// changed block has them. Every replica has the statistics from before, and the untouched block.
absl::Status ShareTransformed(StageContext& context, std::array<method::InputStatistics, 4>& statistics,
                              model::Block& block, std::map<std::string, at::Tensor>* changed);

}  // namespace calipress::engine
