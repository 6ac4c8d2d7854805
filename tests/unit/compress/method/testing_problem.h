#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method {

at::Tensor RandomNormal(at::IntArrayRef sizes, uint64_t seed);

// [tokens, columns] fp32 with strongly correlated columns of very different sizes, as activations have them.
at::Tensor CorrelatedInputs(int64_t tokens, int64_t columns, uint64_t seed);

// [out, in] of size 0.02, in `dtype`.
at::Tensor RandomWeight(int64_t rows, int64_t columns, at::ScalarType dtype, uint64_t seed);

InputStatistics StatisticsOf(const at::Tensor& inputs);

// Statistics with this second moment alone.
InputStatistics WithMoment(const at::Tensor& second_moment, int64_t tokens);

v1::Step GptqStep(int bits, int64_t group_size, bool symmetric);
v1::Step RtnStep(int bits, int64_t group_size, bool symmetric);

// The single result for one weight; fails the test where there is none.
LinearResult CompressOne(const v1::Step& step, const at::Tensor& weight, const InputStatistics* statistics);

// tr(A S A') in double.
double Form(const at::Tensor& a, const at::Tensor& second_moment);

// GPTQ as in its paper and reference code, in double and column by column: H^-1 by inversion, its upper Cholesky
// factor U, q of each column in turn, e = (w - q) / U_ii taken from all later columns at once. The grid is given.
struct ReferenceResult {
  at::Tensor codes;        // int8 [out, in]
  at::Tensor dequantized;  // [out, in] double
  double loss = 0.0;       // sum of e^2
};
ReferenceResult ReferenceGptq(const at::Tensor& weight, const at::Tensor& second_moment, const QuantizedWeight& grid,
                              bool act_order, double damping);

// Share of entries that are equal.
double Agreement(const at::Tensor& a, const at::Tensor& b);

}  // namespace calipress::method
