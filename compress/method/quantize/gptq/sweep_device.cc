#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "compress/method/quantize/gptq/sweep.h"
#include "compress/tensor/device_kernels.h"

namespace calipress::method::gptq {
namespace {

// One column after the other in small operations: right everywhere, fast nowhere.
// `keep` [rows, columns]: 0 where the weight is pruned, else 1; undefined: none is. `floats`: multiples are E4M3.
void SweepPanelByColumns(tensor::SweepPanel& panel, const at::Tensor& keep, bool floats) {
  const int64_t columns = panel.target.size(1);
  for (int64_t i = 0; i < columns; ++i) {
    const at::Tensor target = panel.target.select(1, i);
    const at::Tensor scale = panel.scale.select(1, i);
    at::Tensor multiple = at::minimum(at::maximum(target.div(scale), panel.low.select(1, i)), panel.high.select(1, i));
    multiple = floats ? multiple.to(at::kFloat8_e4m3fn).to(at::kFloat) : multiple.round_();
    if (keep.defined()) multiple = multiple.mul(keep.select(1, i));
    const at::Tensor value = multiple.mul(scale).to(panel.dtype).to(at::kFloat);
    const at::Tensor error = panel.weight.select(1, i).sub(value);
    panel.multiple.select(1, i).copy_(multiple);
    panel.error.select(1, i).copy_(error);
    panel.residual.select(1, i).copy_(target.sub(value));
    if (i + 1 < columns) {
      panel.target.narrow(1, i + 1, columns - i - 1)
          .addr_(error, panel.feedback.select(0, i).narrow(0, i + 1, columns - i - 1));
    }
  }
}

}  // namespace

void SweepOnDevice(const checkpoint::QuantizationScheme& scheme, const ColumnPlan& plan, const Factor& factor,
                   int64_t block_size, std::vector<SweepTask>& tasks) {
  const at::Device device = factor.lower.device();
  const int64_t n = factor.lower.size(0);
  const tensor::DeviceKernels& kernels = tensor::DeviceKernelsFor(device.type());
  int64_t panel_columns = std::max<int64_t>(1, block_size);
  if (kernels.sweep_panel != nullptr) panel_columns = std::min(panel_columns, kernels.sweep_panel_columns);
  // In processing order, as C[j][k], j < k: what column k takes of column j's error.
  const at::Tensor pivots = factor.lower.diagonal().flip(0).contiguous();
  const at::Tensor feedback = factor.lower.tril(-1).flip({0, 1}).div(pivots.unsqueeze(0));
  const at::Tensor order = at::tensor(plan.order, at::kLong).to(device);
  const at::Tensor group = order.floor_divide(scheme.GroupWidth(n));
  const bool floats = scheme.type == checkpoint::NumberType::kFloat;
  const double code_low = floats ? -checkpoint::kLargestE4m3 : -std::ldexp(1.0, scheme.bits - 1);
  const double code_high = floats ? checkpoint::kLargestE4m3 : -code_low - 1.0;
  const auto fp32 = at::TensorOptions().dtype(at::kFloat).device(device);
  for (SweepTask& task : tasks) {
    const int64_t rows = task.weight.size(0);
    const at::Tensor weight = task.weight.index_select(1, order).to(at::kFloat);
    at::Tensor keep;
    if (task.pruned.defined()) keep = task.pruned.index_select(1, order).logical_not().to(at::kFloat);
    const auto of_rows = [&](const at::Tensor& grid) {
      return grid.to(at::kFloat).repeat_interleave(scheme.RowsPerScale(rows), 0).narrow(0, 0, rows);
    };
    const at::Tensor scales = of_rows(task.grid.scales);
    const at::Tensor zeros = task.grid.zero_points.defined() ? of_rows(task.grid.zero_points) : at::zeros_like(scales);
    at::Tensor errors = at::zeros({rows, n}, fp32);
    at::Tensor codes = at::empty({rows, n}, fp32);
    at::Tensor loss = at::zeros({}, fp32.dtype(at::kDouble));
    for (int64_t first = 0; first < n; first += panel_columns) {
      const int64_t count = std::min(panel_columns, n - first);
      const at::Tensor groups = group.narrow(0, first, count);
      const at::Tensor zero = zeros.index_select(1, groups);
      tensor::SweepPanel panel;
      panel.weight = weight.narrow(1, first, count).contiguous();
      panel.target = first == 0 ? panel.weight.clone()
                                : at::addmm(panel.weight, errors.narrow(1, 0, first),
                                            feedback.narrow(0, 0, first).narrow(1, first, count));
      panel.feedback = feedback.narrow(0, first, count).narrow(1, first, count).contiguous();
      panel.scale = scales.index_select(1, groups);
      panel.low = zero.neg().add_(code_low);
      panel.high = zero.neg().add_(code_high);
      panel.dtype = task.weight.scalar_type();
      panel.multiple = at::empty({rows, count}, fp32);
      panel.error = at::empty({rows, count}, fp32);
      panel.residual = at::empty({rows, count}, fp32);
      // The devices' kernels know of no mask and no floats.
      if (kernels.sweep_panel != nullptr && !keep.defined() && !floats) {
        kernels.sweep_panel(panel);
      } else {
        SweepPanelByColumns(panel, keep.defined() ? keep.narrow(1, first, count) : keep, floats);
      }
      errors.narrow(1, first, count).copy_(panel.error);
      codes.narrow(1, first, count).copy_(panel.multiple.add_(zero));
      loss.add_(panel.residual.mul_(pivots.narrow(0, first, count)).square_().sum(at::kDouble));
    }
    // Not every device moves columns of E4M3.
    task.codes = at::empty({rows, n}, fp32);
    task.codes.index_copy_(1, order, codes);
    task.codes = task.codes.to(floats ? at::kFloat8_e4m3fn : at::kChar);
    task.loss = loss.item<double>();
    task.shift = errors.square_().sum(at::kDouble).item<double>();
  }
}

}  // namespace calipress::method::gptq
