#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>

#include "compress/method/prune/mask.h"
#include "compress/method/prune/sparsegpt/sweep.h"

namespace calipress::method::sparsegpt {
namespace {

// The `count` smallest of all scores; of equal ones the first in row-major order.
at::Tensor Smallest(const at::Tensor& scores, int64_t count) {
  if (count <= 0) return at::zeros_like(scores, at::kBool);
  const at::Tensor flat = scores.flatten();
  const at::Tensor cut = std::get<0>(flat.kthvalue(count));
  const at::Tensor below = flat.lt(cut), ties = flat.eq(cut);
  const at::Tensor wanted = below.sum().neg().add(count);
  return below.logical_or(ties.logical_and(ties.cumsum(0).le(wanted))).view_as(scores);
}

// The `zeros` smallest of each row; of equal ones the lower column.
at::Tensor SmallestOfEachRow(const at::Tensor& scores, int64_t zeros) {
  const at::Tensor order = std::get<1>(scores.sort(/*stable=*/true, /*dim=*/1, /*descending=*/false));
  return at::zeros_like(scores, at::kBool).scatter_(1, order.narrow(1, 0, zeros), true);
}

// One weight and what the sweep needs of the factor, all fp32 on one device.
class DeviceSweep {
 public:
  DeviceSweep(const SweepOptions& options, const at::Tensor& feedback, const at::Tensor& pivots, SweepTask& task)
      : options_(options),
        feedback_(feedback),
        pivots_(pivots),
        dtype_(task.weight.scalar_type()),
        before_(task.before),
        weight_(task.weight.to(at::kFloat)),
        target_(weight_.clone()),
        errors_(at::zeros_like(weight_)),
        values_(at::zeros_like(weight_)),
        residuals_(at::zeros_like(weight_)),
        pruned_(at::zeros_like(weight_, at::kBool)) {
    if (!options.scheme) return;
    const int64_t n = weight_.size(1), width = n / options.scheme->Groups(n);
    const at::Tensor group = at::arange(n, pivots.options().dtype(at::kLong)).floor_divide(width);
    const double code_low = -std::ldexp(1.0, options.scheme->bits - 1);
    scale_ = task.grid.scales.to(at::kFloat).index_select(1, group);
    zero_ = task.grid.zero_points.defined() ? task.grid.zero_points.to(at::kFloat).index_select(1, group)
                                            : at::zeros_like(scale_);
    low_ = zero_.neg().add_(code_low);
    high_ = zero_.neg().add_(-code_low - 1.0);
  }

  void Run() {
    const int64_t n = weight_.size(1), panel = PanelColumns(options_);
    for (int64_t first = 0; first < n; first += panel) {
      const int64_t end = std::min(first + panel, n);
      Feed(0, first, end);
      // Unstructured, the panel is one run.
      const int64_t of = options_.amount.pattern ? options_.amount.pattern->of : end - first;
      for (int64_t begin = first; begin < end; begin += of) {
        pruned_.narrow(1, begin, of).copy_(Choose(begin, of));
        for (int64_t i = begin; i < begin + of; ++i) SweepColumn(i, begin + of);
        Feed(begin, begin + of, end);
      }
    }
  }

  void Write(SweepTask& task) const {
    task.pruned = pruned_;
    if (options_.scheme) {
      task.codes = values_.add(zero_).to(at::kChar);
    } else {
      task.values = values_.to(dtype_);
    }
    task.loss = residuals_.mul(pivots_).square().sum(at::kDouble).item<double>();
    task.shift = errors_.square().sum(at::kDouble).item<double>();
  }

 private:
  // Errors of columns [from, to) to the targets of columns [to, end).
  void Feed(int64_t from, int64_t to, int64_t end) {
    if (from == to || to == end) return;
    target_.narrow(1, to, end - to)
        .addmm_(errors_.narrow(1, from, to - from), feedback_.narrow(0, from, to - from).narrow(1, to, end - to));
  }

  // What columns [begin, begin + count) lose. Where no column of the run made an error, (c - w) V = (target - w) diag V
  // has what the weights c are now (V = U^-1; README.md).
  at::Tensor Choose(int64_t begin, int64_t count) const {
    const at::Tensor pivots = pivots_.narrow(0, begin, count), weight = weight_.narrow(1, begin, count);
    const at::Tensor v =
        feedback_.narrow(0, begin, count).narrow(1, begin, count).mul(pivots).add_(at::diag_embed(pivots));
    const at::Tensor moved = target_.narrow(1, begin, count).sub(weight).mul_(pivots);
    at::Tensor scores =
        at::linalg_solve_triangular(v, moved, /*upper=*/true, /*left=*/false).add_(weight).abs_().mul_(pivots);
    if (before_.defined()) scores = scores.masked_fill(before_.narrow(1, begin, count), -1.0);
    const at::Tensor chosen = options_.amount.pattern
                                  ? SmallestOfEachRow(scores, options_.amount.pattern->zeros)
                                  : Smallest(scores, prune::CountOf(scores.numel(), options_.amount.sparsity));
    return before_.defined() ? chosen.logical_or(before_.narrow(1, begin, count)) : chosen;
  }

  // Column i, whose error goes to the columns before `end`.
  void SweepColumn(int64_t i, int64_t end) {
    const at::Tensor target = target_.select(1, i), pruned = pruned_.select(1, i);
    at::Tensor value, stored;
    if (options_.scheme) {
      const at::Tensor scale = scale_.select(1, i);
      stored = at::round(at::minimum(at::maximum(target.div(scale), low_.select(1, i)), high_.select(1, i)));
      stored.masked_fill_(pruned, 0.0);
      value = stored.mul(scale).to(dtype_).to(at::kFloat);
    } else {
      value = target.clamp(-Largest(), Largest()).to(dtype_).to(at::kFloat).masked_fill_(pruned, 0.0);
      stored = value;
    }
    const at::Tensor error = weight_.select(1, i).sub(value);
    values_.select(1, i).copy_(stored);
    errors_.select(1, i).copy_(error);
    residuals_.select(1, i).copy_(target.sub(value));
    if (i + 1 == end) return;
    target_.narrow(1, i + 1, end - i - 1).addr_(error, feedback_.select(0, i).narrow(0, i + 1, end - i - 1));
  }

  double Largest() const {
    if (dtype_ == at::kHalf) return 65504.0;
    return dtype_ == at::kBFloat16 ? 0x1.fep127 : std::numeric_limits<float>::max();
  }

  const SweepOptions& options_;
  const at::Tensor feedback_, pivots_;
  const at::ScalarType dtype_;
  const at::Tensor before_, weight_;  // [rows, columns], as are the next ones
  at::Tensor target_, errors_, values_, residuals_, pruned_;
  at::Tensor scale_, zero_, low_, high_;  // with a scheme
};

}  // namespace

void SweepOnDevice(const SweepOptions& options, const gptq::Factor& factor, std::vector<SweepTask>& tasks) {
  // C[j][k], j < k: what column k takes of column j's error. The factor has columns in reverse order.
  const at::Tensor pivots = factor.lower.diagonal().flip(0).contiguous();
  const at::Tensor feedback = factor.lower.tril(-1).flip({0, 1}).div(pivots.unsqueeze(0));
  for (SweepTask& task : tasks) {
    DeviceSweep sweep(options, feedback, pivots, task);
    sweep.Run();
    sweep.Write(task);
  }
}

}  // namespace calipress::method::sparsegpt
