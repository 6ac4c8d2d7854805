#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace calipress::method::awq {

// Rows of weights that are worked on together: what is made of them fits the caches.
inline constexpr int64_t kRowsAtOnce = 512;

// tr(D S D') of D [rows, in] and a symmetric S [in, in], both fp32: products in fp32, added up in double. Half of the
// multiplications of D S: what lies on both sides of S's diagonal blocks is computed once.
double QuadraticForm(const at::Tensor& change, const at::Tensor& second_moment);

// The same of weight - other [out, in], any floating dtypes; of the weight alone where `other` is undefined.
double OutputError(const at::Tensor& weight, const at::Tensor& other, const at::Tensor& second_moment);

}  // namespace calipress::method::awq
