#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/arch/arch.h"
#include "compress/method/method.h"
#include "compress/model/block.h"

namespace calipress::engine {

// A transform and the linears that its step acts on.
struct TransformStep {
  const method::Transform* transform;
  std::vector<arch::Role> roles;
};

// Lets each transform change the block, in order, and the statistics with it. What changed is put into the block and
// into `changed` by tensor name. Returns what a user should know.
absl::StatusOr<std::vector<std::string>> TransformBlock(const arch::ArchSpec& spec,
                                                        const std::vector<TransformStep>& steps,
                                                        std::array<method::InputStatistics, 4>& statistics,
                                                        model::Block& block,
                                                        std::map<std::string, at::Tensor>* changed);

}  // namespace calipress::engine
