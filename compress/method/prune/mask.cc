#include "compress/method/prune/mask.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

namespace calipress::method::prune {
namespace {

constexpr int64_t kGrain = 8;            // rows of a task
constexpr int64_t kPart = 65536;         // of a matrix, for one thread to be worth while
constexpr int64_t kHistogramFrom = 512;  // below, clearing the histogram costs more than it saves
constexpr int kRowBits = 12;             // sign, exponent, three bits of the fraction

// Integers in the order of the floats; -0 is 0.
inline uint32_t Key(float score) {
  score += 0.0f;
  uint32_t bits;
  std::memcpy(&bits, &score, sizeof(bits));
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}

// A threshold: everything below it goes, and `ties` of what equals it.
struct Cut {
  uint32_t key;
  int64_t ties;
};

// Walks a histogram to the bin that holds the element of this rank, and takes what lies before from the rank.
template <typename Counts>
uint32_t FindBin(const Counts& counts, int64_t* rank) {
  uint32_t bin = 0;
  while (*rank >= counts[bin]) *rank -= counts[bin++];
  return bin;
}

// The key of this rank, and how many of its equals are up to it.
Cut Nth(std::vector<uint32_t>& keys, int64_t rank) {
  std::nth_element(keys.begin(), keys.begin() + rank, keys.end());
  const uint32_t key = keys[rank];
  const auto below = std::count_if(keys.begin(), keys.end(), [&](uint32_t other) { return other < key; });
  return {key, rank + 1 - below};
}

// 0 < count < n. The element of rank count - 1 is searched in its bin of a histogram alone.
Cut CutOf(const std::vector<uint32_t>& keys, int64_t count) {
  static thread_local std::vector<uint32_t> candidates;
  int64_t rank = count - 1;
  candidates.clear();
  if (static_cast<int64_t>(keys.size()) < kHistogramFrom) {
    candidates = keys;
  } else {
    static thread_local std::vector<uint32_t> counts;
    counts.assign(size_t{1} << kRowBits, 0);
    for (const uint32_t key : keys) ++counts[key >> (32 - kRowBits)];
    const uint32_t bin = FindBin(counts, &rank);
    for (const uint32_t key : keys) {
      if (key >> (32 - kRowBits) == bin) candidates.push_back(key);
    }
  }
  return Nth(candidates, rank);
}

template <int of>
void MarkRuns(const float* scores, int64_t n, int zeros, bool* mask) {
  for (int64_t first = 0; first < n; first += of) {
    const float* run = scores + first;
    for (int i = 0; i < of; ++i) {
      int rank = 0;
      for (int j = 0; j < i; ++j) rank += run[j] <= run[i];
      for (int j = i + 1; j < of; ++j) rank += run[j] < run[i];
      mask[first + i] = rank < zeros;
    }
  }
}

template <typename Mark>
at::Tensor ByRows(const at::Tensor& scores, const Mark& mark) {
  const int64_t rows = scores.size(0), n = scores.size(1);
  at::Tensor mask = at::empty({rows, n}, at::kBool);
  const float* from = scores.const_data_ptr<float>();
  bool* to = mask.mutable_data_ptr<bool>();
  at::parallel_for(0, rows, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) mark(from + row * n, n, to + row * n);
  });
  return mask;
}

}  // namespace

int64_t CountOf(int64_t size, double sparsity) { return static_cast<int64_t>(static_cast<double>(size) * sparsity); }

void MarkSmallest(const float* scores, int64_t n, int64_t count, bool* mask) {
  if (count <= 0 || count >= n) return std::fill(mask, mask + n, count > 0);
  static thread_local std::vector<uint32_t> keys;
  keys.resize(n);
  for (int64_t j = 0; j < n; ++j) keys[j] = Key(scores[j]);
  Cut cut = CutOf(keys, count);
  for (int64_t j = 0; j < n; ++j) mask[j] = keys[j] < cut.key;
  for (int64_t j = 0; cut.ties > 0; ++j) {
    if (keys[j] != cut.key) continue;
    mask[j] = true;
    --cut.ties;
  }
}

void MarkSmallestOfRuns(const float* scores, int64_t n, int64_t zeros, int64_t of, bool* mask) {
  switch (of) {
    case 4:
      return MarkRuns<4>(scores, n, static_cast<int>(zeros), mask);
    case 8:
      return MarkRuns<8>(scores, n, static_cast<int>(zeros), mask);
    case 16:
      return MarkRuns<16>(scores, n, static_cast<int>(zeros), mask);
    default:
      for (int64_t first = 0; first < n; first += of) MarkSmallest(scores + first, of, zeros, mask + first);
  }
}

at::Tensor SmallestOfRows(const at::Tensor& scores, int64_t count) {
  return ByRows(scores, [&](const float* row, int64_t n, bool* mask) { MarkSmallest(row, n, count, mask); });
}

at::Tensor SmallestOfRuns(const at::Tensor& scores, int64_t zeros, int64_t of) {
  return ByRows(scores, [&](const float* row, int64_t n, bool* mask) { MarkSmallestOfRuns(row, n, zeros, of, mask); });
}

at::Tensor SmallestOfMatrix(const at::Tensor& scores, int64_t count) {
  const int64_t n = scores.numel();
  at::Tensor mask = at::empty(scores.sizes(), at::kBool);
  const float* from = scores.const_data_ptr<float>();
  bool* to = mask.mutable_data_ptr<bool>();
  if (count <= 0 || count >= n) {
    std::fill(to, to + n, count > 0);
    return mask;
  }
  const int64_t parts = std::clamp<int64_t>(n / kPart, 1, at::get_num_threads());
  const auto begin_of = [&](int64_t part) { return n * part / parts; };
  const auto for_parts = [&](const auto& body) {
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) body(part);
    });
  };
  std::vector<std::vector<uint32_t>> counts(parts), candidates(parts);
  for_parts([&](int64_t part) {
    counts[part].assign(size_t{1} << kRowBits, 0);
    for (int64_t i = begin_of(part); i < begin_of(part + 1); ++i) ++counts[part][Key(from[i]) >> (32 - kRowBits)];
  });
  std::vector<int64_t> sums(size_t{1} << kRowBits, 0);
  for (const auto& part : counts) std::transform(part.begin(), part.end(), sums.begin(), sums.begin(), std::plus<>());
  int64_t rank = count - 1;
  const uint32_t bin = FindBin(sums, &rank);
  for_parts([&](int64_t part) {
    candidates[part].reserve(counts[part][bin]);
    for (int64_t i = begin_of(part); i < begin_of(part + 1); ++i) {
      const uint32_t key = Key(from[i]);
      if (key >> (32 - kRowBits) == bin) candidates[part].push_back(key);
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    candidates[0].insert(candidates[0].end(), candidates[part].begin(), candidates[part].end());
  }
  const Cut cut = Nth(candidates[0], rank);
  for_parts([&](int64_t part) {
    for (int64_t i = begin_of(part); i < begin_of(part + 1); ++i) to[i] = Key(from[i]) < cut.key;
  });
  int64_t ties = cut.ties;
  for (int64_t i = 0; ties > 0; ++i) {
    if (Key(from[i]) != cut.key) continue;
    to[i] = true;
    --ties;
  }
  return mask;
}

}  // namespace calipress::method::prune
