#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "compress/engine/input_accumulator.h"
#include "compress/engine/mixing_plan.h"
#include "compress/method/method.h"

namespace calipress::engine {

// Where the sequences that pass through this rank lie in the calibration set.
struct SetPosition {
  int64_t all_tokens = 0;  // of the set
  int64_t length = 0;      // of a sequence
  int64_t first_sequence = 0;
};

// Statistics of one input of a block, by domain. The plan outlives it.
class DomainStatistics {
 public:
  DomainStatistics(int64_t features, const method::StatisticsNeeds& needs, const MixingPlan& plan,
                   const SetPosition& position, at::Device device);

  // Activations of the next sequences of the set, [sequences, length, features].
  void Add(const at::Tensor& activations);

  // One per domain, in their order; one where nothing is mixed. Take it once, at the end.
  std::vector<method::InputStatistics> Take();

 private:
  const MixingPlan& plan_;
  int64_t next_;  // sequence
  std::vector<std::unique_ptr<InputAccumulator>> domains_;
};

// With tensors of their own, for one more Mix.
std::vector<method::InputStatistics> Copies(const std::vector<method::InputStatistics>& domains);

// The statistics of a set in which domain k has the share weight_k of all tokens: sum_k weight_k * (T / T_k) * S_k,
// with T the tokens of the whole set, so that H = 2 sum_k weight_k S_k / T_k up to the scale that methods give it
// (methods.md 3). With normalize_trace each S_k / T_k is divided by its mean square first, and multiplied by the
// weighted mean of these; sums of the inputs themselves by the roots. A maximum is that of all domains with a weight,
// however small: a range must hold what occurs. A domain without tokens adds nothing. What goes in may be written to.
method::InputStatistics Mix(std::vector<method::InputStatistics> domains, const MixingPlan& plan);

}  // namespace calipress::engine
