#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace calipress::checkpoint {

// An importance matrix as llama.cpp's quantizer reads it (imatrix.gguf): of each weight, the sums over tokens of the
// squares of its input columns.
struct Imatrix {
  struct Entry {
    std::string weight;          // llama.cpp's name: "blk.0.attn_q.weight"
    std::vector<float> in_sum2;  // [in]
  };
  std::vector<std::string> datasets;  // where the tokens came from; at least one
  int64_t chunks = 0, chunk_size = 0;
  int64_t tokens = 0;  // in every sum
  std::vector<Entry> entries;
};

// The file's bytes: GGUF version 3, little-endian, `general.type` "imatrix"; tensors "<weight>.in_sum2" f32 [in, 1] and
// "<weight>.counts" f32 [1, 1], by name, each at a multiple of 32 bytes.
std::string FormatImatrix(Imatrix imatrix);

}  // namespace calipress::checkpoint
