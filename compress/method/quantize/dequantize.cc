// method::Dequantize, declared in compress/method/method.h.
#include <algorithm>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "compress/method/method.h"
#include "compress/method/quantize/grid.h"

namespace calipress::method {

namespace {

// Of rows that share scales in runs of `rows_per_scale`, as in ../method.h.
template <typename T, typename Code>
void DequantizeRow(const QuantizedWeight& weight, int64_t row, T* out) {
  const int64_t columns = weight.codes.size(1), groups = weight.scales.size(1);
  const int64_t width = weight.scheme.GroupWidth(columns);
  const Code* codes = weight.codes.const_data_ptr<Code>() + row * columns;
  const int64_t first = row / weight.scheme.RowsPerScale(weight.codes.size(0)) * groups;
  const T* scales = weight.scales.const_data_ptr<T>() + first;
  const int8_t* zeros = weight.zero_points.defined() ? weight.zero_points.const_data_ptr<int8_t>() + first : nullptr;
  for (int64_t g = 0; g < groups; ++g) {
    const float scale = static_cast<float>(scales[g]);
    const float zero = zeros == nullptr ? 0.0f : static_cast<float>(zeros[g]);
    const int64_t end = std::min(columns, (g + 1) * width);
    // The multiple is at most 9 bits, so that the product is exact in fp32 and rounded once, as in the dtype.
    for (int64_t i = g * width; i < end; ++i) out[i] = static_cast<T>((static_cast<float>(codes[i]) - zero) * scale);
  }
}

}  // namespace

at::Tensor Dequantize(const QuantizedWeight& weight) {
  const int64_t rows = weight.codes.size(0), columns = weight.codes.size(1);
  const at::ScalarType dtype = weight.scales.scalar_type();
  if (!weight.codes.is_cpu()) {
    at::Tensor multiples = weight.codes.to(dtype);
    if (weight.zero_points.defined()) {
      multiples.sub_(SpreadOverWeight(weight.zero_points, rows, columns, weight.scheme).to(dtype));
    }
    return multiples.mul_(SpreadOverWeight(weight.scales, rows, columns, weight.scheme));
  }
  at::Tensor result = at::empty({rows, columns}, dtype);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, dtype, "Dequantize", [&] {
    auto* out = result.mutable_data_ptr<scalar_t>();
    const auto dequantize_row = weight.codes.scalar_type() == at::kChar ? DequantizeRow<scalar_t, int8_t>
                                                                        : DequantizeRow<scalar_t, at::Float8_e4m3fn>;
    at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) dequantize_row(weight, row, out + row * columns);
    });
  });
  return result;
}

}  // namespace calipress::method
