#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace calipress::method::prune {

// Selections of what to remove: `scores` is fp32 [rows, in], contiguous, on the CPU and without NaN; masks are bool of
// the same shape, true where a weight is removed. Exactly as many as asked for are removed, also among equal scores.
// Deterministic for any thread count.

// The number of weights of `size` that a sparsity in [0, 1] removes: rounded down, as the reference's int(size * p).
int64_t CountOf(int64_t size, double sparsity);

// The `count` smallest of each row; of equal scores the lower column goes first.
at::Tensor SmallestOfRows(const at::Tensor& scores, int64_t count);

// Where the `count` smallest of `n` scores end, 0 < count <= n: what is below `value` is removed, and `ties` of the
// `equal` scores that equal it.
struct Cut {
  float value;
  int64_t ties, equal;
};
Cut CutOf(const float* scores, int64_t n, int64_t count);

// The `count` smallest of the whole matrix; of equal scores the first in row-major order goes first.
at::Tensor SmallestOfMatrix(const at::Tensor& scores, int64_t count);

// The `zeros` smallest in every run of `of` columns, which divides the row (methods.md 7.1: N counts what is removed).
at::Tensor SmallestOfRuns(const at::Tensor& scores, int64_t zeros, int64_t of);

// The same for one row of `n` scores, for callers that make scores row by row. Neither allocates once a thread is warm.
void MarkSmallest(const float* scores, int64_t n, int64_t count, bool* mask);
void MarkSmallestOfRuns(const float* scores, int64_t n, int64_t zeros, int64_t of, bool* mask);

}  // namespace calipress::method::prune
