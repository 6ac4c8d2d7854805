#include <algorithm>
#include <numeric>

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>

#include "compress/method/quantize/gptq/feedback.h"
#include "compress/method/quantize/gptq/sweep.h"
#include "compress/method/quantize/gptq/sweep_kernel.h"
#include "compress/method/quantize/gptq/sweep_parts.h"
#include "compress/tensor/aligned_buffer.h"
#include "compress/tensor/cpu_features.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::method::gptq {
namespace {

using tensor::AlignedBuffer;
using tensor::MakeAlignedBuffer;

// What all items of a sweep share.
struct Sweep {
  const SweepKernel& kernel;
  const ColumnPlan& plan;
  const Feedback& feedback;
  std::vector<int64_t> groups;  // of each column, in processing order
  int64_t panel;                // columns, a multiple of 8
};

// Rows [row, row + rows) of one weight through all columns.
template <typename T>
class ItemSweep {
 public:
  ItemSweep(const Sweep& sweep, const TransposedGrid& grid, const T* weight, const bool* pruned, int8_t* codes,
            int64_t row, int64_t rows)
      : sweep_(sweep),
        grid_(grid),
        weight_(weight),
        pruned_(pruned),
        codes_(codes),
        row_(row),
        rows_(rows),
        tiles_(RoundUp(rows, kTileRows) / kTileRows),
        panel_size_(sweep.panel * kTileRows),
        errors_(MakeAlignedBuffer<float>(tiles_ * sweep.feedback.padded * kTileRows)),
        weights_(MakeAlignedBuffer<float>(tiles_ * panel_size_)),
        targets_(MakeAlignedBuffer<float>(tiles_ * panel_size_)),
        keeps_(MakeAlignedBuffer<float>(pruned == nullptr ? 0 : tiles_ * panel_size_)),
        multiples_(MakeAlignedBuffer<float>(panel_size_)),
        staged_(MakeAlignedBuffer<int8_t>(panel_size_)) {}

  // Adds to each row's loss and shift; [rows].
  void Run(double* loss, double* shift) {
    for (int64_t first = 0; first < sweep_.feedback.padded; first += sweep_.panel) {
      const int64_t count = std::min(sweep_.panel, sweep_.feedback.padded - first);
      for (int64_t tile = 0; tile < tiles_; ++tile) LoadPanel(tile, first, count);
      FeedTiles(sweep_.kernel, sweep_.feedback, errors_.get(), tiles_, first, count, sweep_.panel, targets_.get());
      for (int64_t tile = 0; tile < tiles_; ++tile) {
        SweepPanel(tile, first, count, loss, shift);
        StoreCodes(tile, first, count);
      }
    }
  }

 private:
  float* Errors(int64_t tile, int64_t column) {
    return errors_.get() + (tile * sweep_.feedback.padded + column) * kTileRows;
  }
  int64_t RowsOf(int64_t tile) const { return std::min<int64_t>(kTileRows, rows_ - tile * kTileRows); }

  // Transposes the panel's columns; rows and columns that only pad are zero.
  void LoadPanel(int64_t tile, int64_t first, int64_t count) {
    const int64_t n = sweep_.feedback.columns;
    float* weights = weights_.get() + tile * panel_size_;
    const int64_t real = std::min(count, n - first);
    const int64_t* order = sweep_.plan.order.data() + first;
    if (RowsOf(tile) < kTileRows || real < count) std::fill(weights, weights + count * kTileRows, 0.0f);
    for (int64_t r = 0; r < RowsOf(tile); ++r) {
      const T* source = weight_ + (row_ + tile * kTileRows + r) * n;
      for (int64_t k = 0; k < real; ++k) weights[k * kTileRows + r] = static_cast<float>(source[order[k]]);
    }
    std::copy(weights, weights + count * kTileRows, targets_.get() + tile * panel_size_);
    if (pruned_ != nullptr) LoadMask(tile, first, count, real);
  }

  void LoadMask(int64_t tile, int64_t first, int64_t count, int64_t real) {
    const int64_t n = sweep_.feedback.columns;
    const int64_t* order = sweep_.plan.order.data() + first;
    float* keeps = keeps_.get() + tile * panel_size_;
    std::fill(keeps, keeps + count * kTileRows, 1.0f);
    for (int64_t r = 0; r < RowsOf(tile); ++r) {
      const bool* source = pruned_ + (row_ + tile * kTileRows + r) * n;
      for (int64_t k = 0; k < real; ++k) keeps[k * kTileRows + r] = source[order[k]] ? 0.0f : 1.0f;
    }
  }

  void SweepPanel(int64_t tile, int64_t first, int64_t count, double* loss, double* shift) {
    alignas(64) float losses[kTileRows] = {}, shifts[kTileRows] = {};
    const int64_t grid_row = row_ + tile * kTileRows;
    for (int64_t k = 0; k < count; k += kBlockColumns) {
      const int64_t block = (first + k) / kBlockColumns;
      SweepBlock args;
      args.target = targets_.get() + tile * panel_size_ + k * kTileRows;
      args.weight = weights_.get() + tile * panel_size_ + k * kTileRows;
      sweep_.kernel.feed(Errors(tile, first), sweep_.feedback.At(block, first), k, args.target);
      args.feedback = sweep_.feedback.At(block, first + k);
      for (int64_t i = 0; i < kBlockColumns; ++i) {
        const int64_t place = std::min(first + k + i, sweep_.feedback.columns - 1);
        grid_.Point(sweep_.groups[place], grid_row, i, &args);
      }
      args.keep = pruned_ == nullptr ? nullptr : keeps_.get() + tile * panel_size_ + k * kTileRows;
      args.pivot = sweep_.feedback.pivots.get() + first + k;
      args.rounding = RoundingOf<T>();
      args.error = Errors(tile, first + k);
      args.multiple = multiples_.get() + k * kTileRows;
      args.loss = losses;
      args.shift = shifts;
      sweep_.kernel.sweep(args);
    }
    for (int64_t r = 0; r < RowsOf(tile); ++r) {
      loss[tile * kTileRows + r] += losses[r];
      shift[tile * kTileRows + r] += shifts[r];
    }
  }

  void StoreCodes(int64_t tile, int64_t first, int64_t count) {
    const int64_t n = sweep_.feedback.columns;
    const int64_t real = std::min(count, n - first);
    int8_t* staged = staged_.get();
    for (int64_t k = 0; k < real; ++k) {
      grid_.Codes(sweep_.groups[first + k], row_ + tile * kTileRows, multiples_.get() + k * kTileRows,
                  staged + k * kTileRows);
    }
    const int64_t* order = sweep_.plan.order.data() + first;
    for (int64_t r = 0; r < RowsOf(tile); ++r) {
      int8_t* codes = codes_ + (row_ + tile * kTileRows + r) * n;
      for (int64_t k = 0; k < real; ++k) codes[order[k]] = staged[k * kTileRows + r];
    }
  }

  const Sweep& sweep_;
  const TransposedGrid& grid_;
  const T* weight_;
  const bool* pruned_;  // null: none
  int8_t* codes_;
  const int64_t row_, rows_, tiles_, panel_size_;
  AlignedBuffer<float> errors_;     // [tiles][columns][32]
  AlignedBuffer<float> weights_;    // [tiles][panel][32]
  AlignedBuffer<float> targets_;    // [tiles][panel][32]
  AlignedBuffer<float> keeps_;      // [tiles][panel][32]; none without a mask
  AlignedBuffer<float> multiples_;  // [panel][32]
  AlignedBuffer<int8_t> staged_;    // [panel][32] codes
};

}  // namespace

const SweepKernel& BestSweepKernel() {
  if (tensor::CpuHasAvx512()) return kSweepAvx512;
  if (tensor::CpuHasAvx2()) return kSweepAvx2;
  return kSweepPortable;
}

void SweepOnCpu(const checkpoint::QuantizationScheme& scheme, const ColumnPlan& plan, const Factor& factor,
                int64_t block_size, const SweepKernel& kernel, std::vector<SweepTask>& tasks) {
  const Feedback feedback(factor.lower);
  const int64_t panel = std::min(RoundUp(std::max<int64_t>(block_size, 1), kBlockColumns), feedback.padded);
  const int64_t group_width = feedback.columns / scheme.Groups(feedback.columns);
  Sweep sweep{kernel, plan, feedback, {}, panel};
  for (int64_t column : plan.order) sweep.groups.push_back(column / group_width);
  int64_t all_rows = 0;
  for (const SweepTask& task : tasks) all_rows += task.weight.size(0);
  const int64_t item_rows = RowsPerItem(all_rows);
  struct Item {
    size_t task;
    int64_t row, rows;
  };
  std::vector<Item> items;
  std::vector<std::vector<double>> losses, shifts;
  std::vector<TransposedGrid> grids;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const int64_t rows = tasks[t].weight.size(0);
    tasks[t].codes = at::empty({rows, feedback.columns}, at::kChar);
    grids.emplace_back(tasks[t].grid, scheme);
    losses.emplace_back(rows, 0.0);
    shifts.emplace_back(rows, 0.0);
    for (int64_t row = 0; row < rows; row += item_rows) items.push_back({t, row, std::min(item_rows, rows - row)});
  }
  tensor::ForEachItem(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const Item& item = items[i];
    SweepTask& task = tasks[item.task];
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, task.weight.scalar_type(), "SweepOnCpu", [&] {
      if constexpr (!std::is_same_v<scalar_t, double>) {
        ItemSweep<scalar_t>(sweep, grids[item.task], task.weight.const_data_ptr<scalar_t>(),
                            task.pruned.defined() ? task.pruned.const_data_ptr<bool>() : nullptr,
                            task.codes.mutable_data_ptr<int8_t>(), item.row, item.rows)
            .Run(losses[item.task].data() + item.row, shifts[item.task].data() + item.row);
      }
    });
  });
  for (size_t t = 0; t < tasks.size(); ++t) {
    tasks[t].loss = std::accumulate(losses[t].begin(), losses[t].end(), 0.0);
    tasks[t].shift = std::accumulate(shifts[t].begin(), shifts[t].end(), 0.0);
  }
}

void SweepOnCpu(const checkpoint::QuantizationScheme& scheme, const ColumnPlan& plan, const Factor& factor,
                int64_t block_size, std::vector<SweepTask>& tasks) {
  SweepOnCpu(scheme, plan, factor, block_size, BestSweepKernel(), tasks);
}

}  // namespace calipress::method::gptq
