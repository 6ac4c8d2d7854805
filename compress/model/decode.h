#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "compress/arch/arch.h"
#include "compress/model/block.h"
#include "compress/model/decode_linear.h"

namespace calipress::model {

// Where the rows of a step stand in their texts, from 0; -1: the row is idle. Cosines and sines of these positions,
// [rows, head_dim] in fp32.
struct DecodePositions {
  std::vector<int64_t> positions;
  RotaryTable rotary;
};
// `table`: of all positions of the texts.
DecodePositions MakeDecodePositions(std::vector<int64_t> positions, const RotaryTable& table);

// A block that takes one token of each row at a time and keeps keys and values of the tokens before. A row that starts
// again at position 0 sees nothing of what was there before. On the CPU a row's outputs depend, to the bit, on that
// row's tokens alone: not on the other rows, the threads, the number of groups, or (fp32, bf16) the instruction set.
// Agrees with Block::Forward but for the order of sums. Different groups may step at the same time.
class BlockDecoder {
 public:
  // Room for `groups` times kDecodeRows texts of `capacity` tokens. `spec` outlives the decoder.
  BlockDecoder(const arch::ArchSpec& spec, Block block, int64_t groups, int64_t capacity);

  // hidden: [groups.size() * kDecodeRows, hidden], of one to kMostDecodeGroups groups.
  at::Tensor Step(std::span<const int64_t> groups, const at::Tensor& hidden, const DecodePositions& positions);

  // Bytes of the keys and values of one group.
  static int64_t CacheBytes(const arch::ArchSpec& spec, int64_t capacity);

 private:
  at::Tensor Attend(std::span<const int64_t> groups, const at::Tensor& query, const at::Tensor& key,
                    const at::Tensor& value, const std::vector<int64_t>& positions);
  at::Tensor Project(arch::Role role, const at::Tensor& input) const;
  at::Tensor AttentionOfStep(std::span<const int64_t> groups, at::Tensor query, at::Tensor key, const at::Tensor& value,
                             const DecodePositions& positions);

  const arch::ArchSpec& spec_;
  const Block block_;
  const int64_t window_;
  const bool kernels_;
  // [groups, rows, kv_heads, head_dim, capacity]; for the kernels [.., capacity / kKeyBlock, head_dim, kKeyBlock].
  at::Tensor keys_;
  at::Tensor values_;  // [groups, rows, kv_heads, capacity, width]
};

}  // namespace calipress::model
