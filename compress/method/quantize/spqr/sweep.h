#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include <ATen/core/Tensor.h>

#include "compress/method/method.h"
#include "compress/method/quantize/gptq/factor.h"
#include "compress/method/quantize/spqr/tile_kernel.h"

namespace calipress::method::spqr {

inline constexpr int64_t kMaxGroupSize = 128;       // a multiple of 8
inline constexpr int64_t kMaxScaleGroupSize = 128;  // a power of two

struct SweepOptions {
  int bits = 4, scale_bits = 3, zero_bits = 3;
  int64_t group_size = 16, scale_group_size = 16;
  // Share of the linear's mean sensitivity above which an error makes an outlier; infinite: none are kept.
  double outlier_threshold = std::numeric_limits<double>::infinity();
  bool leave_one_out = true;
  bool shrink_ranges = false;  // Observer::kMse
  bool act_order = true;       // the plan's order is not the natural one: the result holds it
};

// One weight of a sweep.
struct SweepTask {
  at::Tensor weight;  // [out, in] contiguous on the CPU, bf16, f16 or fp32; dead columns are zero
  at::Tensor whole;   // where `weight` is some rows: the matrix whose mean sensitivity counts; undefined: `weight`
  SpqrWeight result;  // out
  double loss = 0.0;  // out: sum of e^2 = tr(dW H dW') over columns that are not dead, H the matrix that was factorized
  double shift = 0.0;  // out: sum of dW^2 over the same columns, which times the damping is the damping's part
};

// Mean over columns of (variance over rows * squared pivot): the unit of the outlier threshold. 0 where rows are equal
// (or there is one alone).
double MeanSensitivity(const at::Tensor& weight, const gptq::ColumnPlan& plan, const gptq::Factor& factor);

// Quantizes the columns of all weights in the plan's order, fitting each group's grid when its turn comes. `factor` is
// on the CPU. Every run of scale_group_size rows is on its own and takes errors one by one in order, so that the
// thread count changes no bit.
void Sweep(const SweepOptions& options, const gptq::ColumnPlan& plan, const gptq::Factor& factor,
           const TileKernel& kernel, std::vector<SweepTask>& tasks);
void Sweep(const SweepOptions& options, const gptq::ColumnPlan& plan, const gptq::Factor& factor,
           std::vector<SweepTask>& tasks);

}  // namespace calipress::method::spqr
