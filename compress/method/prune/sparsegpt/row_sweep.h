#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <ATen/core/Tensor.h>

#include "compress/method/prune/sparsegpt/sweep.h"
#include "compress/method/quantize/gptq/feedback.h"
#include "compress/method/quantize/gptq/sweep_kernel.h"
#include "compress/method/quantize/gptq/sweep_parts.h"
#include "compress/tensor/aligned_buffer.h"

namespace calipress::method::sparsegpt {

// What all rows of a sweep share.
struct Sweep {
  const gptq::SweepKernel& kernel;
  const gptq::Feedback& feedback;
  const prune::Amount& amount;
  int64_t panel;        // columns, a multiple of 8
  int64_t group_width;  // columns of a group of the grid
};

// Rows [row, row + rows) of one weight through all columns, panel by panel: Load, then either Score and Remove or
// nothing, then Finish. Everything is in tiles of 32 rows, "[tiles][panel][32]"; `row` is a multiple of 32.
template <typename T>
class RowSweep {
 public:
  // `grid` null: what is kept stays in T.
  RowSweep(const Sweep& sweep, const gptq::TransposedGrid* grid, SweepTask& task, int64_t row, int64_t rows)
      : sweep_(sweep),
        grid_(grid),
        task_(task),
        row_(row),
        rows_(rows),
        tiles_(gptq::RoundUp(rows, kTile) / kTile),
        errors_(tensor::MakeAlignedBuffer<float>(tiles_ * sweep.feedback.padded * kTile)),
        weights_(tensor::MakeAlignedBuffer<float>(tiles_ * sweep.panel * kTile)),
        targets_(tensor::MakeAlignedBuffer<float>(tiles_ * sweep.panel * kTile)),
        keeps_(tensor::MakeAlignedBuffer<float>(tiles_ * sweep.panel * kTile)),
        values_(tensor::MakeAlignedBuffer<float>(tiles_ * sweep.panel * kTile)),
        scores_(tensor::MakeAlignedBuffer<float>(sweep.amount.pattern ? sweep.amount.pattern->of * kTile : 0)) {}

  int64_t row() const { return row_; }

  // Reads columns [first, first + count), and feeds the errors of all columns before to them.
  void Load(int64_t first, int64_t count) {
    first_ = first;
    count_ = count;
    const int64_t n = sweep_.feedback.columns;
    const T* weight = task_.weight.const_data_ptr<T>();
    const bool* before = task_.before.defined() ? task_.before.const_data_ptr<bool>() : nullptr;
    std::fill(weights_.get(), weights_.get() + tiles_ * sweep_.panel * kTile, 0.0f);
    std::fill(keeps_.get(), keeps_.get() + tiles_ * sweep_.panel * kTile, 1.0f);
    for (int64_t r = 0; r < rows_; ++r) {
      const int64_t from = (row_ + r) * n + first;
      float* weights = At(weights_, r / kTile, 0) + r % kTile;
      float* keeps = At(keeps_, r / kTile, 0) + r % kTile;
      for (int64_t k = 0; k < count; ++k) weights[k * kTile] = static_cast<float>(weight[from + k]);
      for (int64_t k = 0; before != nullptr && k < count; ++k) keeps[k * kTile] = before[from + k] ? 0.0f : 1.0f;
    }
    std::copy(weights_.get(), weights_.get() + tiles_ * sweep_.panel * kTile, targets_.get());
    gptq::FeedTiles(sweep_.kernel, sweep_.feedback, errors_.get(), tiles_, first,
                    gptq::RoundUp(count, gptq::kBlockColumns), sweep_.panel, targets_.get());
  }

  // Unstructured: the scores of the panel's weights as they are now, [tiles][count][32] of all rows' `scores`; infinite
  // in rows that only pad.
  void Score(float* scores) {
    panel_scores_ = scores + row_ / kTile * count_ * kTile;
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      float* to = panel_scores_ + tile * count_ * kTile;
      Look(tile, 0, count_, to);
      for (int64_t k = 0; k < count_; ++k) {
        std::fill(to + k * kTile + RowsOf(tile), to + (k + 1) * kTile, std::numeric_limits<float>::infinity());
      }
    }
  }

  // Unstructured: removes what is below the cut, and what equals it if `equal`.
  void Remove(float cut, bool equal) {
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      const float* scores = panel_scores_ + tile * count_ * kTile;
      float* keeps = At(keeps_, tile, 0);
      for (int64_t i = 0; i < count_ * kTile; ++i)
        keeps[i] = scores[i] < cut || (equal && scores[i] == cut) ? 0.0f : keeps[i];
    }
  }

  // Of what equals the cut the first `ties` in row-major order, which are taken from `ties`.
  void RemoveTies(float cut, int64_t& ties) {
    for (int64_t r = 0; r < rows_ && ties != 0; ++r) {
      const float* scores = panel_scores_ + r / kTile * count_ * kTile + r % kTile;
      float* keeps = At(keeps_, r / kTile, 0) + r % kTile;
      for (int64_t k = 0; k < count_ && ties != 0; ++k) {
        if (scores[k * kTile] != cut) continue;
        keeps[k * kTile] = 0.0f;
        --ties;
      }
    }
  }

  // Sweeps the panel (where there is a pattern, choosing run by run what it loses), and writes it to the task. Adds to
  // each row's loss and shift, [rows].
  void Finish(double* loss, double* shift) {
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      alignas(64) float losses[kTile] = {}, shifts[kTile] = {};
      if (sweep_.amount.pattern) {
        const int64_t of = sweep_.amount.pattern->of;
        for (int64_t begin = 0; begin < count_; begin += of) {
          Look(tile, begin, begin + of, scores_.get());
          RemoveOfRun(tile, begin);
          Through(tile, begin, begin + of, losses, shifts);
        }
      } else {
        Through(tile, 0, count_, losses, shifts);
      }
      for (int64_t r = 0; r < RowsOf(tile); ++r) {
        loss[tile * kTile + r] += losses[r];
        shift[tile * kTile + r] += shifts[r];
      }
    }
    Store();
  }

 private:
  static constexpr int64_t kTile = gptq::kTileRows, kBlock = gptq::kBlockColumns;

  int64_t RowsOf(int64_t tile) const { return std::min(kTile, rows_ - tile * kTile); }
  float* At(const tensor::AlignedBuffer<float>& buffer, int64_t tile, int64_t column) const {
    return buffer.get() + (tile * sweep_.panel + column) * kTile;
  }
  float* Errors(int64_t tile, int64_t column) const {
    return errors_.get() + (tile * sweep_.feedback.padded + column) * kTile;
  }

  // Columns [begin, end) of the panel in blocks of 8: body(k, block), the block's column 0 being column k. Where a
  // block starts inside the range, its targets lack the errors of the panel so far.
  template <typename Body>
  void ForBlocks(int64_t tile, int64_t begin, int64_t end, float* losses, float* shifts, const Body& body) {
    for (int64_t k = begin / kBlock * kBlock; k < end; k += kBlock) {
      gptq::SweepBlock block;
      block.weight = At(weights_, tile, k);
      block.feedback = sweep_.feedback.At((first_ + k) / kBlock, first_ + k);
      block.begin = static_cast<int>(std::max<int64_t>(begin - k, 0));
      block.end = static_cast<int>(std::min(end - k, kBlock));
      block.pivot = sweep_.feedback.pivots.get() + first_ + k;
      block.error = Errors(tile, first_ + k);
      block.loss = losses;
      block.shift = shifts;
      body(k, block);
    }
  }

  void FeedPanelErrors(int64_t tile, int64_t k, float* target) {
    sweep_.kernel.feed(Errors(tile, first_), sweep_.feedback.At((first_ + k) / kBlock, first_), k, target);
  }

  // Scores of columns [begin, end), [end - begin][32]: |w| / U_kk, w what the weights are after all columns
  // before `begin`; -1 for what an earlier step pruned. That is a sweep that takes every target for the value: errors
  // are then what makes up for the columns before, and are overwritten by the real ones.
  void Look(int64_t tile, int64_t begin, int64_t end, float* scores) {
    alignas(64) float target[kBlock * kTile], value[kBlock * kTile], unused[2][kTile] = {};
    ForBlocks(tile, begin, end, unused[0], unused[1], [&](int64_t k, gptq::SweepBlock& block) {
      std::copy(At(targets_, tile, k), At(targets_, tile, k + kBlock), target);
      if (k >= begin) FeedPanelErrors(tile, k, target);
      block.target = target;
      block.scale[0] = nullptr;
      block.keep = nullptr;
      block.rounding = gptq::Rounding::kNone;
      block.multiple = value;
      sweep_.kernel.sweep(block);
      for (int64_t i = block.begin; i < block.end; ++i) {
        float* to = scores + (k + i - begin) * kTile;
        const float* keeps = At(keeps_, tile, k + i);
        for (int64_t r = 0; r < kTile; ++r) {
          to[r] = keeps[r] > 0.0f ? std::fabs(value[i * kTile + r]) * block.pivot[i] : -1.0f;
        }
      }
    });
  }

  // The smallest scores of a run go; of equal ones the lower column.
  void RemoveOfRun(int64_t tile, int64_t begin) {
    const int64_t of = sweep_.amount.pattern->of;
    const float zeros = static_cast<float>(sweep_.amount.pattern->zeros);
    for (int64_t i = 0; i < of; ++i) {
      float rank[kTile] = {};
      const float* own = scores_.get() + i * kTile;
      for (int64_t j = 0; j < i; ++j) {
        const float* other = scores_.get() + j * kTile;
        for (int64_t r = 0; r < kTile; ++r) rank[r] += other[r] <= own[r] ? 1.0f : 0.0f;
      }
      for (int64_t j = i + 1; j < of; ++j) {
        const float* other = scores_.get() + j * kTile;
        for (int64_t r = 0; r < kTile; ++r) rank[r] += other[r] < own[r] ? 1.0f : 0.0f;
      }
      float* keeps = At(keeps_, tile, begin + i);
      for (int64_t r = 0; r < kTile; ++r) keeps[r] = rank[r] < zeros ? 0.0f : keeps[r];
    }
  }

  // The sweep itself, for columns [begin, end): all before are done.
  void Through(int64_t tile, int64_t begin, int64_t end, float* losses, float* shifts) {
    ForBlocks(tile, begin, end, losses, shifts, [&](int64_t k, gptq::SweepBlock& block) {
      block.target = At(targets_, tile, k);
      if (k >= begin) FeedPanelErrors(tile, k, block.target);
      block.scale[0] = nullptr;
      for (int64_t i = 0; grid_ != nullptr && i < kBlock; ++i) PointGrid(tile, k + i, i, &block);
      block.keep = At(keeps_, tile, k);
      block.rounding = gptq::RoundingOf<T>();
      block.multiple = At(values_, tile, k);
      sweep_.kernel.sweep(block);
    });
  }

  // Columns that only pad have the last one's grid.
  void PointGrid(int64_t tile, int64_t column, int64_t i, gptq::SweepBlock* block) const {
    const int64_t place = std::min(first_ + column, sweep_.feedback.columns - 1);
    grid_->Point(place / sweep_.group_width, row_ + tile * kTile, i, block);
  }

  void Store() {
    const int64_t n = sweep_.feedback.columns;
    bool* pruned = task_.pruned.mutable_data_ptr<bool>();
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      for (int64_t r = 0; r < RowsOf(tile); ++r) {
        bool* to = pruned + (row_ + tile * kTile + r) * n + first_;
        const float* keeps = At(keeps_, tile, 0) + r;
        for (int64_t k = 0; k < count_; ++k) to[k] = keeps[k * kTile] == 0.0f;
      }
      grid_ == nullptr ? StoreValues(tile) : StoreCodes(tile);
    }
  }

  void StoreValues(int64_t tile) {
    T* out = task_.values.mutable_data_ptr<T>();
    for (int64_t r = 0; r < RowsOf(tile); ++r) {
      T* to = out + (row_ + tile * kTile + r) * sweep_.feedback.columns + first_;
      const float* values = At(values_, tile, 0) + r;
      for (int64_t k = 0; k < count_; ++k) to[k] = static_cast<T>(values[k * kTile]);
    }
  }

  void StoreCodes(int64_t tile) {
    int8_t* out = task_.codes.mutable_data_ptr<int8_t>();
    int8_t codes[kTile];
    for (int64_t k = 0; k < count_; ++k) {
      grid_->Codes((first_ + k) / sweep_.group_width, row_ + tile * kTile, At(values_, tile, k), codes);
      int8_t* to = out + (row_ + tile * kTile) * sweep_.feedback.columns + first_ + k;
      for (int64_t r = 0; r < RowsOf(tile); ++r) to[r * sweep_.feedback.columns] = codes[r];
    }
  }

  const Sweep& sweep_;
  const gptq::TransposedGrid* grid_;
  SweepTask& task_;
  const int64_t row_, rows_, tiles_;
  int64_t first_ = 0, count_ = 0;         // the panel's columns
  tensor::AlignedBuffer<float> errors_;   // [tiles][columns][32]
  tensor::AlignedBuffer<float> weights_;  // [tiles][panel][32], as are the next ones
  tensor::AlignedBuffer<float> targets_;
  tensor::AlignedBuffer<float> keeps_;   // 0 where the weight is removed, else 1
  tensor::AlignedBuffer<float> values_;  // what is left: weights, or multiples of the grid
  tensor::AlignedBuffer<float> scores_;  // of a run, [M][32]
  float* panel_scores_ = nullptr;        // [tiles][count][32], of an unstructured panel
};

}  // namespace calipress::method::sparsegpt
