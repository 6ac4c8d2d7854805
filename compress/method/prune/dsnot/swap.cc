#include "compress/method/prune/dsnot/swap.h"

#include <algorithm>
#include <cmath>

namespace calipress::method::dsnot {

RowSwapper::RowSwapper(int64_t columns, const SwapOptions& options) : columns_(columns), options_(options) {
  for (Queue* queues : {grow_, prune_}) {
    for (int sign : {0, 1}) queues[sign].columns.reserve(columns);
  }
  if (options.run > 0) swapped_.resize(columns);
}

void RowSwapper::Sort(Queue& queue, const float* key, bool descending) {
  queue.next = 0;
  // No more than one of each queue is taken per cycle; in N:M more may be passed over.
  const size_t wanted = options_.run > 0 ? queue.columns.size()
                                         : std::min(queue.columns.size(), static_cast<size_t>(options_.max_cycles));
  std::partial_sort(queue.columns.begin(), queue.columns.begin() + wanted, queue.columns.end(),
                    [&](int32_t a, int32_t b) {
                      if (key[a] != key[b]) return descending ? key[a] > key[b] : key[a] < key[b];
                      return a < b;
                    });
}

void RowSwapper::Fill(const SwapRow& row, const bool* pruned) {
  for (int sign : {0, 1}) {
    grow_[sign].columns.clear();
    prune_[sign].columns.clear();
  }
  for (int64_t j = 0; j < columns_; ++j) {
    // What adds nothing to the expected output (dead columns, zero weights) cannot correct it.
    if (row.contribution[j] == 0.0f) continue;
    (pruned[j] ? grow_ : prune_)[row.contribution[j] > 0.0f].columns.push_back(static_cast<int32_t>(j));
  }
  Sort(grow_[0], row.growth, /*descending=*/false);
  Sort(grow_[1], row.growth, /*descending=*/true);
  if (options_.run > 0) return std::fill(swapped_.begin(), swapped_.end(), 0);
  for (int sign : {0, 1}) Sort(prune_[sign], row.metric, /*descending=*/false);
}

int32_t RowSwapper::Partner(const SwapRow& row, const bool* pruned, int32_t grown, bool positive) {
  if (options_.run == 0) {
    Queue& queue = prune_[positive ? 0 : 1];
    return queue.empty() ? -1 : queue.Pop();
  }
  const int64_t first = grown - grown % options_.run;
  int32_t best = -1;
  for (int64_t j = first; j < first + options_.run; ++j) {
    if (pruned[j] || swapped_[j]) continue;
    if (best < 0 || row.metric[j] < row.metric[best]) best = static_cast<int32_t>(j);
  }
  return best;
}

SwapOutcome RowSwapper::Swap(const SwapRow& row, bool* pruned) {
  SwapOutcome outcome;
  for (int64_t j = 0; j < columns_; ++j) {
    if (pruned[j]) outcome.before += row.contribution[j];
  }
  double error = outcome.before;
  outcome.after = error;
  if (options_.max_cycles == 0 || !(std::fabs(error) > options_.threshold)) return outcome;
  Fill(row, pruned);
  const bool initially_positive = error > 0.0;
  while (outcome.swaps < options_.max_cycles && std::fabs(error) > options_.threshold) {
    const bool positive = error > 0.0;
    Queue& candidates = grow_[positive ? 1 : 0];
    if (candidates.empty()) break;
    const int32_t grown = candidates.Pop();
    const int32_t gone = Partner(row, pruned, grown, positive);
    if (gone < 0) {
      if (options_.run > 0) continue;  // every kept weight of this run was swapped; other runs may have some
      break;
    }
    const double next = error + row.contribution[gone] - row.contribution[grown];
    if (options_.same_sign && (initially_positive ? next <= 0.0 : next >= 0.0)) break;
    pruned[gone] = true;
    pruned[grown] = false;
    if (options_.run > 0) swapped_[gone] = swapped_[grown] = 1;
    error = next;
    ++outcome.swaps;
  }
  outcome.after = error;
  return outcome;
}

}  // namespace calipress::method::dsnot
