// method::Dequantize, declared in compress/method/method.h.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "compress/method/method.h"

namespace calipress::method {

at::Tensor Dequantize(const QuantizedWeight& weight) {
  const int64_t rows = weight.codes.size(0), columns = weight.codes.size(1);
  const int64_t groups = weight.scales.size(1), width = columns / groups;
  const bool shifted = weight.zero_points.defined();
  if (!weight.codes.is_cpu()) {
    at::Tensor multiples = weight.codes.to(weight.scales.scalar_type()).view({rows, groups, width});
    if (shifted) multiples.sub_(weight.zero_points.to(weight.scales.scalar_type()).unsqueeze(2));
    return multiples.mul_(weight.scales.unsqueeze(2)).view({rows, columns});
  }
  at::Tensor result = at::empty({rows, columns}, weight.scales.scalar_type());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scales.scalar_type(), "Dequantize", [&] {
    const int8_t* codes = weight.codes.const_data_ptr<int8_t>();
    const auto* scales = weight.scales.const_data_ptr<scalar_t>();
    const int8_t* zeros = shifted ? weight.zero_points.const_data_ptr<int8_t>() : nullptr;
    auto* out = result.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, rows * groups, 256, [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g) {
        const float scale = static_cast<float>(scales[g]);
        const int32_t zero = zeros == nullptr ? 0 : zeros[g];
        // The multiple is at most 9 bits, so that the product is exact in fp32 and rounded once, as in the dtype.
        for (int64_t i = g * width; i < (g + 1) * width; ++i) {
          out[i] = static_cast<scalar_t>(static_cast<float>(codes[i] - zero) * scale);
        }
      }
    });
  });
  return result;
}

}  // namespace calipress::method
