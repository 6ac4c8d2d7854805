#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/method/method.h"

namespace calipress::method::transform {

// The linears that take one input of a block, and what makes its channels: a norm, or the rows of a linear. Scales s of
// the channels move between them: what comes before is divided by s, columns of the linears are multiplied. Points into
// the block.
struct InputGroup {
  int input = 0;
  at::Tensor* norm = nullptr;               // inputs 0 and 2
  TransformLinear* producer = nullptr;      // input 1: v_proj; input 3: up_proj
  std::vector<TransformLinear*> consumers;  // all of them, targeted or not
  at::Tensor largest_column;                // fp32 [in]: max|w| of each column over the consumers
  at::Tensor largest_row;                   // fp32 [in]: max|w| of each row of the producer
};

// Nothing where the block has no place to put scales of this input: o_proj under grouped queries, where several of its
// channels come from one row of v_proj. NON_FINITE_WEIGHTS names the linear.
absl::StatusOr<std::optional<InputGroup>> GroupOf(TransformBlock& block, int input);

// What the consumers are multiplied with where `scales` (fp32 [in]) are asked for. A norm's weight g becomes g' = g / s
// rounded to its dtype, and the consumers take g / g' instead of s, so that the rounding cancels. 1 where g' is zero or
// not finite, and where a scaled weight would not be finite in its dtype.
at::Tensor EffectiveScales(const InputGroup& group, const at::Tensor& scales);

// [out, in] in the weight's dtype: each column times its scale.
at::Tensor ScaledColumns(const at::Tensor& weight, const at::Tensor& scales);

// Folds the effective scales into the group, and makes `statistics` those of the scaled input.
void Fold(const InputGroup& group, const at::Tensor& scales, InputStatistics& statistics);

// Statistics of x / s from those of x; the second moment in place.
void RescaleStatistics(const at::Tensor& scales, InputStatistics& statistics);

}  // namespace calipress::method::transform
