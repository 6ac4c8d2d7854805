#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace calipress::tensor {

// Sum over tokens of x x', accumulated in fp32 from inputs in their own dtype without an upcast copy of them. Only one
// triangle is computed. Deterministic for a given thread count and order of Add calls. Not thread-safe.
class SecondMoment {
 public:
  // For inputs of `features` columns on `device`.
  SecondMoment(int64_t features, at::Device device);

  // x: [tokens, features], bf16, f16 or fp32, contiguous.
  void Add(const at::Tensor& x);

  // [features, features] fp32 with both triangles filled. The object keeps accumulating into the same storage.
  at::Tensor Full();

  int64_t tokens() const { return tokens_; }
  static int64_t Bytes(int64_t features) { return features * features * 4; }

 private:
  at::Tensor sum_;
  int64_t tokens_ = 0;
};

}  // namespace calipress::tensor
