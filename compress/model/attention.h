#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace calipress::model {

// Causal attention with scale head_dim^-0.5. query: [batch, length, heads, head_dim]; key and value: [batch, length,
// kv_heads, head_dim], heads a multiple of kv_heads; all contiguous. `window` > 0: each position sees that many, itself
// included. Returns [batch, length, heads * head_dim].
at::Tensor CausalAttention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, int64_t window);

}  // namespace calipress::model
