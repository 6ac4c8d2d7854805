#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace calipress::evaluate {

// Whether the fused passes of divergence_rows.h take these logits.
bool HasRowKernel(const at::Tensor& logits);

// Rows of [positions, vocabulary] in fp32, by view where the tensor is fp32 and by one row's copy where it is bf16. The
// tensor has a row kernel and outlives it.
class LogitRows {
 public:
  LogitRows() = default;
  explicit LogitRows(const at::Tensor& logits);

  const float* Row(int64_t index, std::vector<float>* buffer) const;

 private:
  int64_t size_ = 0;
  int64_t stride_ = 0;
  const float* values_ = nullptr;
  const uint16_t* bits_ = nullptr;
};

// fp32 [positions, vocabulary] by plain operations. A logit of -inf counts as -1e30: 0 * inf would be NaN later.
at::Tensor LogProbabilities(const at::Tensor& logits);

}  // namespace calipress::evaluate
