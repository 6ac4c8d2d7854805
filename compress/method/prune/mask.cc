#include "compress/method/prune/mask.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

namespace calipress::method::prune {
namespace {

constexpr int64_t kGrain = 8;            // rows of a task
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
  std::nth_element(candidates.begin(), candidates.begin() + rank, candidates.end());
  const uint32_t key = candidates[rank];
  const auto below = std::count_if(candidates.begin(), candidates.end(), [&](uint32_t other) { return other < key; });
  return {key, rank + 1 - below};
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
  const int64_t parts = std::clamp<int64_t>(n / 65536, 1, at::get_num_threads());
  const auto begin_of = [&](int64_t part) { return n * part / parts; };
  // Both halves of the keys, one histogram after the other.
  int64_t rank = count - 1;
  const auto find = [&](const auto& bin_of) {
    std::vector<std::vector<int64_t>> counts(parts, std::vector<int64_t>(65537, 0));
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        for (int64_t i = begin_of(part); i < begin_of(part + 1); ++i) ++counts[part][bin_of(Key(from[i]))];
      }
    });
    for (int64_t part = 1; part < parts; ++part) {
      for (size_t bin = 0; bin < 65536; ++bin) counts[0][bin] += counts[part][bin];
    }
    return FindBin(counts[0], &rank);
  };
  const uint32_t high = find([](uint32_t key) { return key >> 16; });
  const uint32_t low = find([&](uint32_t key) { return key >> 16 == high ? key & 0xffffu : 65536u; });
  const uint32_t cut = high << 16 | low;
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin_of(begin); i < begin_of(end); ++i) to[i] = Key(from[i]) < cut;
  });
  int64_t ties = rank + 1;
  for (int64_t i = 0; ties > 0; ++i) {
    if (Key(from[i]) != cut) continue;
    to[i] = true;
    --ties;
  }
  return mask;
}

}  // namespace calipress::method::prune
