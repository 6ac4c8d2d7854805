// method::DequantizeSpqr, declared in compress/method/method.h.
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "compress/method/method.h"
#include "compress/method/quantize/spqr/second_level.h"

namespace calipress::method {

at::Tensor DequantizeSpqr(const SpqrWeight& weight) {
  const int64_t rows = weight.codes.size(0), columns = weight.codes.size(1);
  const int64_t width = weight.group_size, groups = columns / width;
  const at::ScalarType dtype = weight.scale_steps.scalar_type();
  at::Tensor result = at::empty({rows, columns}, dtype);
  const uint8_t* codes = weight.codes.const_data_ptr<uint8_t>();
  const uint8_t* scale_codes = weight.scale_codes.const_data_ptr<uint8_t>();
  const uint8_t* zero_codes = weight.zero_codes.const_data_ptr<uint8_t>();
  const int32_t* order = weight.order.defined() ? weight.order.const_data_ptr<int32_t>() : nullptr;
  const int32_t* offsets = weight.outlier_offsets.const_data_ptr<int32_t>();
  const int32_t* outlier_columns = weight.outlier_columns.const_data_ptr<int32_t>();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, dtype, "DequantizeSpqr", [&] {
    if constexpr (!std::is_same_v<scalar_t, double>) {
      const auto* scale_steps = weight.scale_steps.const_data_ptr<scalar_t>();
      const auto* scale_lows = weight.scale_lows.const_data_ptr<scalar_t>();
      const auto* zero_steps = weight.zero_steps.const_data_ptr<scalar_t>();
      const auto* zero_lows = weight.zero_lows.const_data_ptr<scalar_t>();
      const auto* outlier_values = weight.outlier_values.const_data_ptr<scalar_t>();
      auto* out = result.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const int64_t run = row / weight.scale_group_size * groups;
          for (int64_t g = 0; g < groups; ++g) {
            using Grid = spqr::RunGrid<scalar_t>;
            const float scale = Grid{scale_steps[run + g], scale_lows[run + g]}.Value(scale_codes[row * groups + g]);
            const float zero = Grid{zero_steps[run + g], zero_lows[run + g]}.Value(zero_codes[row * groups + g]);
            for (int64_t place = g * width; place < (g + 1) * width; ++place) {
              const float value = scale * (static_cast<float>(codes[row * columns + place]) - zero);
              out[row * columns + (order == nullptr ? place : order[place])] = static_cast<scalar_t>(value);
            }
          }
          for (int32_t i = offsets[row]; i < offsets[row + 1]; ++i) {
            out[row * columns + outlier_columns[i]] = outlier_values[i];
          }
        }
      });
    }
  });
  return result;
}

}  // namespace calipress::method
