#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "compress/method/method.h"

namespace calipress::method {

struct BlockShape {
  int64_t hidden = 64, heads = 4, kv_heads = 4, head_dim = 16, intermediate = 96;
  bool bias = false;
};

// A random block of a model, with its tokens and the statistics of its inputs; computed in double.
class TestingBlock {
 public:
  TestingBlock(const BlockShape& shape, at::ScalarType dtype, uint64_t seed, int64_t tokens = 200);

  TransformBlock& block() { return block_; }
  InputStatistics& statistics(int input) { return statistics_[input]; }
  TransformLinear& linear(const std::string& role);

  // The inputs of the four groups of linears as the block is now, and what leaves it; [tokens, features] double.
  struct Values {
    std::array<at::Tensor, 4> inputs;
    at::Tensor output;
  };
  Values Run() const;

  // Every statistic of [tokens, features], one sequence.
  static InputStatistics AllStatistics(const at::Tensor& inputs);

  // Makes the statistics those of the block as it is now.
  void Measure();

 private:
  const BlockShape shape_;
  at::Tensor hidden_;  // [tokens, hidden] double
  TransformBlock block_;
  std::array<InputStatistics, 4> statistics_;
};

}  // namespace calipress::method
