#include "compress/method/quantize/spqr/sweep.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>
#include <utility>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include "compress/method/quantize/gptq/feedback.h"
#include "compress/method/quantize/spqr/group_grids.h"
#include "compress/method/quantize/spqr/second_level.h"
#include "compress/tensor/aligned_buffer.h"
#include "compress/tensor/cpu_features.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::method::spqr {
namespace {

using tensor::AlignedBuffer;
using tensor::MakeAlignedBuffer;

constexpr int64_t kMaxItemRows = 256;  // as GPTQ's sweep
constexpr int64_t kPanelColumns = 128;
constexpr int64_t kFeedColumns = 128;

int64_t RoundUp(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

template <typename T>
constexpr Rounding RoundingOf() {
  if constexpr (std::is_same_v<T, at::BFloat16>) return Rounding::kBf16;
  if constexpr (std::is_same_v<T, at::Half>) return Rounding::kF16;
  return Rounding::kNone;
}

struct Outlier {
  int32_t column;
  float value;
};

// What all items of a sweep share.
struct Shared {
  const SweepOptions& options;
  const gptq::ColumnPlan& plan;
  const gptq::Feedback& feedback;
  const TileKernel& kernel;
  void (*feed)(const float* error, const float* feedback, int64_t count, float* target);
  std::vector<float> pivots;         // in processing order; 0 for dead columns
  std::vector<float> sensitivities;  // squared
};

// One weight's part of a sweep.
struct Target {
  SpqrWeight* result;
  float threshold;
  std::vector<std::vector<Outlier>> outliers;  // by row
  std::vector<double> losses, shifts;          // by row
};

// Rows [row, row + rows) of one weight through all columns; `row` is a multiple of the scale group size.
template <typename T>
class ItemSweep {
 public:
  ItemSweep(const Shared& shared, const T* weight, Target& target, int64_t row, int64_t rows)
      : shared_(shared),
        options_(shared.options),
        weight_(weight),
        target_(target),
        row_(row),
        rows_(rows),
        columns_(shared.feedback.columns),
        tiles_(RoundUp(rows, kTileRows) / kTileRows),
        panel_(std::max<int64_t>(1, kPanelColumns / options_.group_size) * options_.group_size),
        errors_(MakeAlignedBuffer<float>(tiles_ * columns_ * kTileRows)),
        weights_(MakeAlignedBuffer<float>(tiles_ * panel_ * kTileRows)),
        bases_(MakeAlignedBuffer<float>(tiles_ * panel_ * kTileRows)),
        current_(MakeAlignedBuffer<float>(options_.group_size * kTileRows)),
        shift_(MakeAlignedBuffer<float>(options_.group_size * kTileRows)),
        low_(MakeAlignedBuffer<float>(tiles_ * kTileRows)),
        high_(MakeAlignedBuffer<float>(tiles_ * kTileRows)),
        scale_(MakeAlignedBuffer<float>(tiles_ * kTileRows)),
        zero_(MakeAlignedBuffer<float>(tiles_ * kTileRows)) {
    // Rows that only pad.
    std::fill(scale_.get(), scale_.get() + tiles_ * kTileRows, 1.0f);
    std::fill(zero_.get(), zero_.get() + tiles_ * kTileRows, 0.0f);
  }

  void Run() {
    for (int64_t first = 0; first < columns_; first += panel_) {
      const int64_t count = std::min(panel_, columns_ - first);
      for (int64_t tile = 0; tile < tiles_; ++tile) LoadPanel(tile, first, count);
      FeedPanel(first, count);
      for (int64_t at = 0; at < count; at += options_.group_size) {
        for (int64_t tile = 0; tile < tiles_; ++tile) FitGroup(tile, first, at);
        QuantizeGrids((first + at) / options_.group_size);
        for (int64_t tile = 0; tile < tiles_; ++tile) SweepGroup(tile, first, at);
      }
    }
  }

 private:
  float* Errors(int64_t tile, int64_t column) { return errors_.get() + (tile * columns_ + column) * kTileRows; }
  float* Weights(int64_t tile, int64_t at) { return weights_.get() + (tile * panel_ + at) * kTileRows; }
  float* Bases(int64_t tile, int64_t at) { return bases_.get() + (tile * panel_ + at) * kTileRows; }
  int64_t RowsOf(int64_t tile) const { return std::min<int64_t>(kTileRows, rows_ - tile * kTileRows); }

  void LoadPanel(int64_t tile, int64_t first, int64_t count) {
    float* weights = Weights(tile, 0);
    const int64_t* order = shared_.plan.order.data() + first;
    if (RowsOf(tile) < kTileRows) std::fill(weights, weights + count * kTileRows, 0.0f);
    for (int64_t r = 0; r < RowsOf(tile); ++r) {
      const T* source = weight_ + (row_ + tile * kTileRows + r) * columns_;
      for (int64_t k = 0; k < count; ++k) weights[k * kTileRows + r] = static_cast<float>(source[order[k]]);
    }
    std::copy(weights, weights + count * kTileRows, Bases(tile, 0));
  }

  // Errors of all earlier panels: the bulk of the work, a matrix product.
  void FeedPanel(int64_t first, int64_t count) {
    for (int64_t from = 0; from < first; from += kFeedColumns) {
      const int64_t columns = std::min(kFeedColumns, first - from);
      for (int64_t tile = 0; tile < tiles_; ++tile) {
        for (int64_t k = 0; k < count; k += kBlockColumns) {
          shared_.feed(Errors(tile, from), shared_.feedback.At((first + k) / kBlockColumns, from), columns,
                       Bases(tile, k));
        }
      }
    }
  }

  // The group as it stands once everything before it is quantized, and the ranges of its rows.
  void FitGroup(int64_t tile, int64_t first, int64_t at) {
    const int64_t start = first + at, width = options_.group_size;
    for (int64_t k = 0; k < width; k += kBlockColumns) {
      const int64_t block = (start + k) / kBlockColumns;
      float* base = Bases(tile, at + k);
      float* current = current_.get() + k * kTileRows;
      shared_.feed(Errors(tile, first), shared_.feedback.At(block, first), at, base);
      std::copy(base, base + kBlockColumns * kTileRows, current);
      shared_.feed(shift_.get(), shared_.feedback.At(block, start), k, current);
      shared_.kernel.compensate({.current = current,
                                 .weight = Weights(tile, at + k),
                                 .feedback = shared_.feedback.At(block, start + k),
                                 .limit = kLimit,
                                 .shift = shift_.get() + k * kTileRows});
    }
    // `shift_` has served; the fit may write over it.
    shared_.kernel.fit({.values = current_.get(),
                        .sensitivity = shared_.sensitivities.data() + start,
                        .width = width,
                        .levels = static_cast<float>((1 << options_.bits) - 1),
                        .threshold = options_.leave_one_out ? target_.threshold : kInfinity,
                        .shrink = options_.shrink_ranges,
                        .cap = target_.threshold,
                        .scratch = shift_.get(),
                        .low = low_.get() + tile * kTileRows,
                        .high = high_.get() + tile * kTileRows});
  }

  void QuantizeGrids(int64_t group) {
    const int64_t run = options_.scale_group_size, groups = columns_ / options_.group_size;
    SpqrWeight& out = *target_.result;
    double scales[kMaxScaleGroupSize], zeros[kMaxScaleGroupSize];
    uint8_t scale_codes[kMaxScaleGroupSize], zero_codes[kMaxScaleGroupSize];
    for (int64_t begin = 0; begin < rows_; begin += run) {
      const int64_t count = std::min(run, rows_ - begin);
      RunGrids(low_.get() + begin, high_.get() + begin, count, (1 << options_.bits) - 1, scales, zeros);
      const auto scale_grid = QuantizeRun<T>(scales, count, (1 << options_.scale_bits) - 1, true, scale_codes);
      const auto zero_grid = QuantizeRun<T>(zeros, count, (1 << options_.zero_bits) - 1, false, zero_codes);
      for (int64_t i = 0; i < count; ++i) {
        scale_[begin + i] = scale_grid.Value(scale_codes[i]);
        zero_[begin + i] = zero_grid.Value(zero_codes[i]);
        const int64_t at = (row_ + begin + i) * groups + group;
        out.scale_codes.mutable_data_ptr<uint8_t>()[at] = scale_codes[i];
        out.zero_codes.mutable_data_ptr<uint8_t>()[at] = zero_codes[i];
      }
      const int64_t at = (row_ + begin) / run * groups + group;
      out.scale_steps.mutable_data_ptr<T>()[at] = scale_grid.step;
      out.scale_lows.mutable_data_ptr<T>()[at] = scale_grid.low;
      out.zero_steps.mutable_data_ptr<T>()[at] = zero_grid.step;
      out.zero_lows.mutable_data_ptr<T>()[at] = zero_grid.low;
    }
  }

  void SweepGroup(int64_t tile, int64_t first, int64_t at) {
    alignas(64) float losses[kTileRows] = {}, shifts[kTileRows] = {};
    alignas(64) float codes[kBlockColumns * kTileRows], kept[kBlockColumns * kTileRows];
    const int64_t start = first + at;
    for (int64_t k = 0; k < options_.group_size; k += kBlockColumns) {
      const int64_t block = (start + k) / kBlockColumns;
      float* base = Bases(tile, at + k);
      shared_.feed(Errors(tile, start), shared_.feedback.At(block, start), k, base);
      shared_.kernel.sweep({.target = base,
                            .weight = Weights(tile, at + k),
                            .feedback = shared_.feedback.At(block, start + k),
                            .scale = scale_.get() + tile * kTileRows,
                            .zero = zero_.get() + tile * kTileRows,
                            .pivot = shared_.pivots.data() + start + k,
                            .levels = static_cast<float>((1 << options_.bits) - 1),
                            .threshold = target_.threshold,
                            .limit = kLimit,
                            .rounding = RoundingOf<T>(),
                            .error = Errors(tile, start + k),
                            .code = codes,
                            .kept = kept,
                            .loss = losses,
                            .shift = shifts});
      Keep(tile, start + k, codes, kept);
    }
    for (int64_t r = 0; r < RowsOf(tile); ++r) {
      target_.losses[row_ + tile * kTileRows + r] += losses[r];
      target_.shifts[row_ + tile * kTileRows + r] += shifts[r];
    }
  }

  // Codes and outliers of a block; an outlier's code is 0.
  void Keep(int64_t tile, int64_t place, const float* codes, const float* kept) {
    const int64_t* order = shared_.plan.order.data() + place;
    for (int64_t r = 0; r < RowsOf(tile); ++r) {
      const int64_t row = row_ + tile * kTileRows + r;
      uint8_t* out = target_.result->codes.mutable_data_ptr<uint8_t>() + row * columns_ + place;
      for (int64_t k = 0; k < kBlockColumns; ++k) {
        const float code = codes[k * kTileRows + r];
        out[k] = static_cast<uint8_t>(std::max(0, static_cast<int>(code)));
        if (code < 0.0f) target_.outliers[row].push_back({static_cast<int32_t>(order[k]), kept[k * kTileRows + r]});
      }
    }
  }

  static constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float kLimit = static_cast<float>(std::numeric_limits<T>::max());
  const Shared& shared_;
  const SweepOptions& options_;
  const T* weight_;
  Target& target_;
  const int64_t row_, rows_, columns_, tiles_, panel_;
  AlignedBuffer<float> errors_;                     // [tiles][columns][32]
  AlignedBuffer<float> weights_;                    // [tiles][panel][32]
  AlignedBuffer<float> bases_;                      // [tiles][panel][32]: weight plus the feedback so far
  AlignedBuffer<float> current_;                    // [group][32]
  AlignedBuffer<float> shift_;                      // [group][32]
  AlignedBuffer<float> low_, high_, scale_, zero_;  // [tiles][32]
};

void Allocate(const SweepOptions& options, const gptq::ColumnPlan& plan, const at::Tensor& weight, SpqrWeight& out) {
  const int64_t rows = weight.size(0), columns = weight.size(1), groups = columns / options.group_size;
  const int64_t runs = (rows + options.scale_group_size - 1) / options.scale_group_size;
  out.scheme = {.bits = options.bits,
                .scale_bits = options.scale_bits,
                .zero_bits = options.zero_bits,
                .group_size = options.group_size,
                .scale_group_size = options.scale_group_size,
                .act_order = options.act_order};
  out.codes = at::empty({rows, columns}, at::kByte);
  out.scale_codes = at::empty({rows, groups}, at::kByte);
  out.zero_codes = at::empty({rows, groups}, at::kByte);
  for (at::Tensor* grid : {&out.scale_steps, &out.scale_lows, &out.zero_steps, &out.zero_lows}) {
    *grid = at::empty({runs, groups}, weight.scalar_type());
  }
  if (options.act_order) out.order = at::tensor(plan.order, at::kInt);
}

// Compressed sparse rows, columns ascending.
template <typename T>
void StoreOutliers(std::vector<std::vector<Outlier>>& rows, SpqrWeight& out) {
  int64_t count = 0;
  for (const auto& row : rows) count += static_cast<int64_t>(row.size());
  out.outlier_offsets = at::empty({static_cast<int64_t>(rows.size()) + 1}, at::kInt);
  out.outlier_columns = at::empty({count}, at::kInt);
  out.outlier_values = at::empty({count}, out.scale_steps.scalar_type());
  auto* offsets = out.outlier_offsets.mutable_data_ptr<int32_t>();
  auto* columns = out.outlier_columns.mutable_data_ptr<int32_t>();
  auto* values = out.outlier_values.mutable_data_ptr<T>();
  int64_t at = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    offsets[r] = static_cast<int32_t>(at);
    std::sort(rows[r].begin(), rows[r].end(), [](const Outlier& a, const Outlier& b) { return a.column < b.column; });
    for (const Outlier& outlier : rows[r]) {
      columns[at] = outlier.column;
      values[at++] = static_cast<T>(outlier.value);
    }
  }
  offsets[rows.size()] = static_cast<int32_t>(at);
}

template <typename Body>
void Dispatch(const at::Tensor& weight, const Body& body) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, weight.scalar_type(), "spqr", [&] {
    if constexpr (!std::is_same_v<scalar_t, double>) body(weight.const_data_ptr<scalar_t>());
  });
}

}  // namespace

const TileKernel& BestTileKernel() {
  if (tensor::CpuHasAvx512()) return kTileAvx512;
  if (tensor::CpuHasAvx2()) return kTileAvx2;
  return kTilePortable;
}

double MeanSensitivity(const at::Tensor& weight, const gptq::ColumnPlan& plan, const gptq::Factor& factor) {
  const int64_t rows = weight.size(0), n = weight.size(1);
  if (rows < 2) return 0.0;
  std::vector<double> squared(n);
  const float* lower = factor.lower.const_data_ptr<float>();
  for (int64_t p = 0; p < n; ++p) {
    const double pivot = lower[(n - 1 - p) * (n + 1)];
    squared[plan.order[p]] = pivot * pivot;
  }
  std::vector<double> parts(n);
  Dispatch(weight, [&](const auto* data) {
    at::parallel_for(0, n, 64, [&](int64_t begin, int64_t end) {
      std::vector<double> sums(end - begin, 0.0), squares(end - begin, 0.0);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t j = begin; j < end; ++j)
          sums[j - begin] += static_cast<double>(static_cast<float>(data[row * n + j]));
      }
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t j = begin; j < end; ++j) {
          const double apart =
              static_cast<double>(static_cast<float>(data[row * n + j])) - sums[j - begin] / static_cast<double>(rows);
          squares[j - begin] += apart * apart;
        }
      }
      for (int64_t j = begin; j < end; ++j) {
        parts[j] = squares[j - begin] / static_cast<double>(rows - 1) * squared[j];
      }
    });
  });
  return std::accumulate(parts.begin(), parts.end(), 0.0) / static_cast<double>(n);
}

void Sweep(const SweepOptions& options, const gptq::ColumnPlan& plan, const gptq::Factor& factor,
           const TileKernel& kernel, std::vector<SweepTask>& tasks) {
  const gptq::Feedback feedback(factor.lower);
  Shared shared{options, plan, feedback, kernel, gptq::BestSweepKernel().feed, {}, {}};
  for (int64_t p = 0; p < feedback.columns; ++p) {
    const bool dead = std::binary_search(plan.dead.begin(), plan.dead.end(), plan.order[p]);
    const float pivot = dead ? 0.0f : feedback.pivots[p];
    shared.pivots.push_back(pivot);
    shared.sensitivities.push_back(pivot * pivot);
  }
  int64_t all_rows = 0;
  for (const SweepTask& task : tasks) all_rows += task.weight.size(0);
  // Small enough that every thread has some, and several where there are many; whole runs of rows.
  const int64_t unit = std::max<int64_t>(kTileRows, options.scale_group_size);
  const int64_t item_rows = std::min(RoundUp(all_rows / (2 * at::get_num_threads()) + 1, unit), kMaxItemRows);
  struct Item {
    size_t task;
    int64_t row, rows;
  };
  std::vector<Item> items;
  std::vector<Target> targets;
  for (size_t t = 0; t < tasks.size(); ++t) {
    SweepTask& task = tasks[t];
    const int64_t rows = task.weight.size(0);
    Allocate(options, plan, task.weight, task.result);
    double threshold = std::numeric_limits<double>::infinity();
    if (std::isfinite(options.outlier_threshold)) {
      const double mean = MeanSensitivity(task.whole.defined() ? task.whole : task.weight, plan, factor);
      if (mean > 0.0) threshold = options.outlier_threshold * mean;
    }
    targets.push_back({&task.result, static_cast<float>(threshold), std::vector<std::vector<Outlier>>(rows),
                       std::vector<double>(rows, 0.0), std::vector<double>(rows, 0.0)});
    for (int64_t row = 0; row < rows; row += item_rows) items.push_back({t, row, std::min(item_rows, rows - row)});
  }
  tensor::ForEachItem(static_cast<int64_t>(items.size()), [&](int64_t i) {
    const Item& item = items[i];
    Dispatch(tasks[item.task].weight, [&]<typename T>(const T* weight) {
      ItemSweep<T>(shared, weight, targets[item.task], item.row, item.rows).Run();
    });
  });
  for (size_t t = 0; t < tasks.size(); ++t) {
    Dispatch(tasks[t].weight, [&]<typename T>(const T*) { StoreOutliers<T>(targets[t].outliers, tasks[t].result); });
    tasks[t].loss = std::accumulate(targets[t].losses.begin(), targets[t].losses.end(), 0.0);
    tasks[t].shift = std::accumulate(targets[t].shifts.begin(), targets[t].shifts.end(), 0.0);
  }
}

void Sweep(const SweepOptions& options, const gptq::ColumnPlan& plan, const gptq::Factor& factor,
           std::vector<SweepTask>& tasks) {
  Sweep(options, plan, factor, BestTileKernel(), tasks);
}

}  // namespace calipress::method::spqr
