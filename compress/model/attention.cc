#include "compress/model/attention.h"

#include <limits>
#include <optional>

#include <ATen/ATen.h>

#include "compress/model/attention_bf16.h"
#include "compress/model/linear.h"

namespace calipress::model {
namespace {

// Each key-value head as often as queries share it: [batch, length, kv_heads, d] -> [batch, length, heads, d].
at::Tensor RepeatHeads(const at::Tensor& heads, int64_t times) {
  if (times == 1) return heads;
  const int64_t batch = heads.size(0), length = heads.size(1), count = heads.size(2), dim = heads.size(3);
  return heads.unsqueeze(3).expand({batch, length, count, times, dim}).reshape({batch, length, count * times, dim});
}

// 0 where a position sees another, -inf elsewhere: [length, length].
at::Tensor WindowMask(int64_t length, int64_t window, const at::TensorOptions& options) {
  const at::Tensor hidden = at::full({length, length}, -std::numeric_limits<double>::infinity(), options);
  const at::Tensor future = at::triu(hidden, 1);
  const at::Tensor past = at::tril(hidden, -window);
  return future.add_(past);
}

}  // namespace

at::Tensor CausalAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, int64_t window) {
  const int64_t length = query.size(1);
  const AttentionShape shape = {query.size(0), length, query.size(2), key.size(2), query.size(3), window};
  if (query.is_cpu() && query.scalar_type() == at::kBFloat16 && CanAttendBf16(shape)) {
    at::Tensor out = at::empty({shape.batch, length, shape.heads * shape.head_dim}, query.options());
    const auto bits = [](const at::Tensor& tensor) { return static_cast<const uint16_t*>(tensor.const_data_ptr()); };
    AttendBf16(shape, bits(query), bits(key), bits(value), static_cast<uint16_t*>(out.mutable_data_ptr()));
    return out;
  }
  if (BetterInFloat(query)) {
    const at::Tensor wide = CausalAttention(query.to(at::kFloat), key.to(at::kFloat), value.to(at::kFloat), window);
    return wide.to(query.scalar_type());
  }
  const int64_t times = query.size(2) / key.size(2);
  const bool masked = window > 0 && window < length;
  // With a mask CUDA's kernels do not share key-value heads; everywhere else repeating them costs a copy for nothing.
  const bool repeat = masked && query.is_cuda();
  const at::Tensor q = query.transpose(1, 2);
  const at::Tensor k = (repeat ? RepeatHeads(key, times) : key).transpose(1, 2);
  const at::Tensor v = (repeat ? RepeatHeads(value, times) : value).transpose(1, 2);
  std::optional<at::Tensor> mask;
  if (masked) mask = WindowMask(length, window, query.options());
  const at::Tensor heads = at::scaled_dot_product_attention(q, k, v, mask, /*dropout_p=*/0.0,
                                                            /*is_causal=*/!masked && length > 1,
                                                            /*scale=*/std::nullopt,
                                                            /*enable_gqa=*/times > 1 && !repeat);
  return heads.transpose(1, 2).reshape({query.size(0), length, -1});
}

}  // namespace calipress::model
