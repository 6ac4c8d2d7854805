#include "compress/calibration/min_hash.h"

#include <algorithm>
#include <limits>

namespace calipress::calibration {
namespace {

// A fixed bijection of 64 bits that leaves no pattern (the finalizer of SplitMix64, Steele et al. 2014).
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

uint64_t RunHash(const int64_t* ids, size_t count) {
  uint64_t hash = count;
  for (size_t i = 0; i < count; ++i) hash = Mix(hash ^ Mix(static_cast<uint64_t>(ids[i])));
  return hash;
}

}  // namespace

Signature MinHashOf(const std::vector<int64_t>& ids) {
  Signature least;
  least.fill(std::numeric_limits<uint64_t>::max());
  const size_t run = std::min(kRunTokens, ids.size());
  for (size_t begin = 0; begin + run <= ids.size(); ++begin) {
    const uint64_t hash = RunHash(ids.data() + begin, run);
    for (int h = 0; h < kHashes; ++h) {
      least[h] = std::min(least[h], Mix(hash ^ (static_cast<uint64_t>(h) * 0xD1342543DE82EF95)));
    }
  }
  return least;
}

bool NearDuplicates::Insert(const std::vector<int64_t>& ids, double share) {
  const Signature signature = MinHashOf(ids);
  std::unordered_map<int32_t, int> agreeing;
  for (int h = 0; h < kHashes; ++h) {
    const auto found = tables_[h].find(signature[h]);
    if (found == tables_[h].end()) continue;
    for (const int32_t document : found->second) {
      if (++agreeing[document] >= share * kHashes) return false;
    }
  }
  for (int h = 0; h < kHashes; ++h) tables_[h][signature[h]].push_back(size_);
  ++size_;
  return true;
}

}  // namespace calipress::calibration
