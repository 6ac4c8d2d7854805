#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace calipress::calibration {

// The shares of documents' runs of 5 tokens that they have in common (Jaccard: runs in both by runs in either),
// estimated by MinHash (Broder 1997): the share of kHashes hash functions under which both have the same least run.
inline constexpr int kHashes = 128;
inline constexpr size_t kRunTokens = 5;
using Signature = std::array<uint64_t, kHashes>;

// The least value of every hash over the runs of a document; one of fewer tokens is one run. Not empty.
Signature MinHashOf(const std::vector<int64_t>& ids);

// Signatures of what was kept, with all that are near found by the values they share.
class NearDuplicates {
 public:
  // False, and nothing is kept, where a kept document has at least `share` in common with this one.
  bool Insert(const std::vector<int64_t>& ids, double share);

 private:
  int32_t size_ = 0;
  // By hash function: its least value to the documents that have it.
  std::vector<std::unordered_map<uint64_t, std::vector<int32_t>>> tables_{kHashes};
};

}  // namespace calipress::calibration
