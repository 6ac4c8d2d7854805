#include <memory>
#include <numeric>
#include <optional>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>

#include "compress/method/prune/mask.h"
#include "compress/method/prune/sparsegpt/row_sweep.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::method::sparsegpt {
namespace {

// All rows of one weight, cut into items of work.
struct Rows {
  explicit Rows(int64_t rows) : rows(rows), each(gptq::RowsPerItem(rows)), items((rows + each - 1) / each) {}
  int64_t Of(int64_t item) const { return std::min(each, rows - item * each); }
  int64_t rows, each, items;
};

// Every row chooses on its own: items go through all columns.
template <typename T>
void SweepRuns(const Sweep& sweep, const gptq::TransposedGrid* grid, SweepTask& task, double* loss, double* shift) {
  const Rows rows(task.weight.size(0));
  const int64_t n = sweep.feedback.columns;
  tensor::ForEachItem(rows.items, [&](int64_t item) {
    RowSweep<T> part(sweep, grid, task, item * rows.each, rows.Of(item));
    for (int64_t first = 0; first < n; first += sweep.panel) {
      part.Load(first, std::min(sweep.panel, n - first));
      part.Finish(loss + part.row(), shift + part.row());
    }
  });
}

// All rows choose together: items meet at every panel.
template <typename T>
void SweepPanels(const Sweep& sweep, const gptq::TransposedGrid* grid, SweepTask& task, double* loss, double* shift) {
  const Rows rows(task.weight.size(0));
  const int64_t n = sweep.feedback.columns;
  std::vector<std::unique_ptr<RowSweep<T>>> parts;
  for (int64_t item = 0; item < rows.items; ++item) {
    parts.push_back(std::make_unique<RowSweep<T>>(sweep, grid, task, item * rows.each, rows.Of(item)));
  }
  const int64_t padded = gptq::RoundUp(rows.rows, gptq::kTileRows);
  const auto scores = tensor::MakeAlignedBuffer<float>(padded * sweep.panel);
  for (int64_t first = 0; first < n; first += sweep.panel) {
    const int64_t count = std::min(sweep.panel, n - first);
    const int64_t gone = prune::CountOf(rows.rows * count, sweep.amount.sparsity);
    tensor::ForEachItem(rows.items, [&](int64_t item) {
      parts[item]->Load(first, count);
      if (gone > 0) parts[item]->Score(scores.get());
    });
    prune::Cut cut{-1.0f, 0, 0};  // nothing
    if (gone > 0) cut = prune::CutOf(scores.get(), padded * count, gone);
    // Seldom there are more equal scores than may go, and rows have to agree on which.
    const bool all = cut.ties == cut.equal;
    if (!all) {
      for (auto& part : parts) part->RemoveTies(cut.value, cut.ties);
    }
    tensor::ForEachItem(rows.items, [&](int64_t item) {
      RowSweep<T>& part = *parts[item];
      if (gone > 0) part.Remove(cut.value, all);
      part.Finish(loss + part.row(), shift + part.row());
    });
  }
}

}  // namespace

int64_t PanelColumns(const SweepOptions& options) {
  if (!options.amount.pattern) return options.block_size;
  const int64_t step = std::lcm<int64_t, int64_t>(options.amount.pattern->of, gptq::kBlockColumns);
  return gptq::RoundUp(options.block_size, step);
}

void SweepOnCpu(const SweepOptions& options, const gptq::Factor& factor, const gptq::SweepKernel& kernel,
                std::vector<SweepTask>& tasks) {
  const gptq::Feedback feedback(factor.lower);
  Sweep sweep{kernel, feedback, options.amount, std::min(PanelColumns(options), feedback.padded), feedback.columns};
  if (options.scheme) sweep.group_width = feedback.columns / options.scheme->Groups(feedback.columns);
  for (SweepTask& task : tasks) {
    task.pruned = at::empty(task.weight.sizes(), at::kBool);
    std::optional<gptq::TransposedGrid> grid;
    if (options.scheme) {
      grid.emplace(task.grid, *options.scheme, task.weight.size(0));
      task.codes = at::empty(task.weight.sizes(), at::kChar);
    } else {
      task.values = at::empty(task.weight.sizes(), task.weight.options());
    }
    std::vector<double> loss(task.weight.size(0), 0.0), shift(task.weight.size(0), 0.0);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, task.weight.scalar_type(), "SparseGptOnCpu", [&] {
      if constexpr (!std::is_same_v<scalar_t, double>) {
        const auto rows = options.amount.pattern ? SweepRuns<scalar_t> : SweepPanels<scalar_t>;
        rows(sweep, grid ? &*grid : nullptr, task, loss.data(), shift.data());
      }
    });
    task.loss = std::accumulate(loss.begin(), loss.end(), 0.0);
    task.shift = std::accumulate(shift.begin(), shift.end(), 0.0);
  }
}

void SweepOnCpu(const SweepOptions& options, const gptq::Factor& factor, std::vector<SweepTask>& tasks) {
  SweepOnCpu(options, factor, gptq::BestSweepKernel(), tasks);
}

}  // namespace calipress::method::sparsegpt
