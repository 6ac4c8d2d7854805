#include "compress/evaluate/logit_rows.h"

#include <ATen/ATen.h>

#include "compress/evaluate/divergence_rows.h"

namespace calipress::evaluate {
namespace {

constexpr double kLowestLogit = -1e30;

}  // namespace

bool HasRowKernel(const at::Tensor& logits) {
  const bool dtype = logits.scalar_type() == at::kFloat || logits.scalar_type() == at::kBFloat16;
  return logits.is_cpu() && dtype && logits.stride(-1) == 1;
}

LogitRows::LogitRows(const at::Tensor& logits) : size_(logits.size(1)), stride_(logits.stride(0)) {
  if (logits.scalar_type() == at::kBFloat16) {
    bits_ = static_cast<const uint16_t*>(logits.const_data_ptr());
  } else {
    values_ = logits.const_data_ptr<float>();
  }
}

const float* LogitRows::Row(int64_t index, std::vector<float>* buffer) const {
  if (values_ != nullptr) return values_ + index * stride_;
  buffer->resize(size_);
  WidenBfloat16(bits_ + index * stride_, size_, buffer->data());
  return buffer->data();
}

at::Tensor LogProbabilities(const at::Tensor& logits) {
  return at::log_softmax(logits.to(at::kFloat).clamp_min(kLowestLogit), 1);
}

}  // namespace calipress::evaluate
