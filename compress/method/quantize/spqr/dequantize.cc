// method::DequantizeSpqr and ViewOf, declared in compress/method/method.h.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "compress/method/method.h"

namespace calipress::method {

checkpoint::SpqrView ViewOf(const SpqrWeight& weight) {
  const at::ScalarType dtype = weight.scale_steps.scalar_type();
  checkpoint::SpqrView view;
  view.scheme = weight.scheme;
  view.out = weight.codes.size(0);
  view.in = weight.codes.size(1);
  view.dtype = dtype == at::kBFloat16 ? Dtype::kBF16 : dtype == at::kHalf ? Dtype::kF16 : Dtype::kF32;
  view.order = weight.order.defined() ? weight.order.const_data_ptr<int32_t>() : nullptr;
  view.codes = weight.codes.const_data_ptr<uint8_t>();
  view.scale_codes = weight.scale_codes.const_data_ptr<uint8_t>();
  view.zero_codes = weight.zero_codes.const_data_ptr<uint8_t>();
  view.scale_steps = weight.scale_steps.const_data_ptr();
  view.scale_lows = weight.scale_lows.const_data_ptr();
  view.zero_steps = weight.zero_steps.const_data_ptr();
  view.zero_lows = weight.zero_lows.const_data_ptr();
  view.outlier_offsets = weight.outlier_offsets.const_data_ptr<int32_t>();
  view.outlier_columns = weight.outlier_columns.const_data_ptr<int32_t>();
  view.outlier_values = weight.outlier_values.const_data_ptr();
  return view;
}

at::Tensor DequantizeSpqr(const SpqrWeight& weight) {
  const checkpoint::SpqrView view = ViewOf(weight);
  at::Tensor result = at::empty({view.out, view.in}, weight.scale_steps.scalar_type());
  void* data = result.mutable_data_ptr();
  at::parallel_for(0, view.out, 16,
                   [&](int64_t begin, int64_t end) { checkpoint::DequantizeSpqrRows(view, begin, end, data); });
  return result;
}

}  // namespace calipress::method
