#pragma once

#include <cstdint>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"

namespace calipress::method {

// What a step removes: a share of the weights, or `zeros` of every run of `of` input columns.
struct SparsityPattern {
  double sparsity = 0.5;
  int zeros = 0, of = 0;  // 0: unstructured
  bool structured() const { return of > 0; }
};

// "2:4" -> 2 zeros in every 4 (then `sparsity` is ignored); empty: unstructured. INVALID_RECIPE where it is neither, or
// not 0 < zeros < of <= 64, or the sparsity is not in [0, 1). `step` begins the message: "wanda".
absl::StatusOr<SparsityPattern> ParsePattern(std::string_view step, double sparsity, std::string_view pattern);

// Masks: bool [out, in], true where the weight goes. `scores` is fp32 [out, in] on the CPU; smaller goes first, of
// equal ones the one with the lower column (and row). Deterministic; the number of threads does not matter.
at::Tensor SmallestPerRow(const at::Tensor& scores, double sparsity);    // int(in * sparsity) of each row
at::Tensor SmallestOfMatrix(const at::Tensor& scores, double sparsity);  // int(numel * sparsity) of all
at::Tensor SmallestPerRun(const at::Tensor& scores, int zeros, int of);  // `zeros` of each `of` columns; of divides in

}  // namespace calipress::method
