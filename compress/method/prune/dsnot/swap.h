#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace calipress::method::dsnot {

struct SwapOptions {
  int64_t max_cycles = 50;  // swaps per row at most
  double threshold = 0.1;   // a row is done where its |error| is at most this
  bool same_sign = false;   // a row ends before a swap that would turn its error's sign
  int64_t run = 0;          // columns in which sparsity is exact (the M of N:M); 0: the whole row
};

// One row: [columns] each.
struct SwapRow {
  const float* contribution;  // m: weight times the input's mean sum per sequence
  const float* growth;        // m / var^gamma: the order in which pruned weights come back
  const float* metric;        // the order in which kept weights go
};

struct SwapOutcome {
  double before = 0.0, after = 0.0;  // the row's error: the sum of m over pruned weights
  int64_t swaps = 0;
};

// Swaps pruned and kept weights of rows of `columns` (methods.md 7.5; DSnoT, arXiv 2310.08915, section 3). Memory is
// kept from row to row; one swapper per thread.
class RowSwapper {
 public:
  RowSwapper(int64_t columns, const SwapOptions& options);

  // Changes `pruned` [columns] in place; as many stay pruned as were, in every run.
  SwapOutcome Swap(const SwapRow& row, bool* pruned);

 private:
  // Columns in the order in which they are taken, and how many were.
  struct Queue {
    std::vector<int32_t> columns;
    size_t next = 0;
    bool empty() const { return next == columns.size(); }
    int32_t Pop() { return columns[next++]; }
  };

  void Sort(Queue& queue, const float* key, bool descending);
  void Fill(const SwapRow& row, const bool* pruned);
  // A kept column to prune in exchange for `grown`; -1: none. `error` is above 0 where `positive`.
  int32_t Partner(const SwapRow& row, const bool* pruned, int32_t grown, bool positive);

  const int64_t columns_;
  const SwapOptions options_;
  Queue grow_[2], prune_[2];      // of weights with m < 0, m > 0
  std::vector<uint8_t> swapped_;  // N:M: columns that were swapped once are left alone
};

}  // namespace calipress::method::dsnot
