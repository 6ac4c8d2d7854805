#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/spqr_layout.h"

namespace calipress::method {

// What a method wants to know of a linear's input. What nobody wants is not computed.
struct StatisticsNeeds {
  bool second_moment = false;  // holds the square sums too, on its diagonal
  bool square_sum = false;
  bool absolute_sum = false;
  bool absolute_max = false;
  bool sum = false;
  bool sequence_variance = false;
  int64_t sample_rows = 0;

  bool Any() const {
    return second_moment || square_sum || absolute_sum || absolute_max || sum || sequence_variance || sample_rows > 0;
  }
  void Merge(const StatisticsNeeds& other) {
    second_moment |= other.second_moment;
    square_sum |= other.square_sum;
    absolute_sum |= other.absolute_sum;
    absolute_max |= other.absolute_max;
    sum |= other.sum;
    sequence_variance |= other.sequence_variance;
    sample_rows = std::max(sample_rows, other.sample_rows);
  }
};

// Input statistics of the linears that share one input; each is defined where somebody's needs named it. Vectors are
// fp32 [in] on the worker's device. All but the sample are sums or maxima, so that shares of the data add up.
struct InputStatistics {
  at::Tensor second_moment;  // fp32 [in, in], both triangles: sum over tokens of x x'
  at::Tensor square_sum;     // sum over tokens of x^2; always there where second_moment is
  at::Tensor absolute_sum;   // sum over tokens of |x|
  at::Tensor absolute_max;   // max over tokens of |x|
  at::Tensor sum;            // sum over tokens of x
  at::Tensor variance_sum;   // sum over sequences of (tokens of the sequence * variance of x within it, unbiased)
  at::Tensor sample;         // [rows, in] in the activations' dtype: tokens spread evenly over the calibration set
  int64_t tokens = 0;
  int64_t sequences = 0;
};

// One linear to compress. Tensors are on the worker's device and not changed.
struct LinearTask {
  std::string module;
  at::Tensor weight;  // [out, in], the checkpoint's dtype; what an earlier step pruned is zero
  // bool [out, in], true where an earlier step pruned the weight: it has to stay zero. Undefined: nothing was pruned.
  at::Tensor pruned = {};
  int64_t block = 0;      // index of the block that the linear is in
  std::string role = {};  // "q_proj" and so on, by arch::RoleName
  // The matrix whose rows `weight` has some of, where the rows of one linear are divided (Method::row_unit); undefined:
  // `weight` is all of it.
  at::Tensor whole = {};
};

// Codes and grid of a quantized weight; the weight is (codes - zero_points) * scales, in the dtype of `scales`.
struct QuantizedWeight {
  checkpoint::QuantizationScheme scheme;
  at::Tensor codes;        // [out, in]: int8, signed, [-2^(b-1), 2^(b-1)-1]; kFloat: float8_e4m3fn
  at::Tensor scales;       // [ScaleRows(out), Groups(in)], the checkpoint's dtype (bf16, f16, f32), positive
  at::Tensor zero_points;  // int8, shaped like scales, signed like codes; undefined where symmetric
  at::Tensor input_scale;  // fp32 [1] where activations are kStatic
};

// What SpQR makes of a weight (methods.md 6.4); docs/formats/spqr.md has the layout on disk. Columns of codes are in
// the order in which they were quantized, and groups are runs of group_size of them; second-level runs are
// scale_group_size rows of one column group. A scale or a zero point is code * step + low, and a weight (code - zero
// point) * scale.
struct SpqrWeight {
  checkpoint::SpqrScheme scheme;
  at::Tensor order;                    // int32 [in]: the column that each column of codes is; undefined: itself
  at::Tensor codes;                    // uint8 [out, in]; 0 for outliers
  at::Tensor scale_codes, zero_codes;  // uint8 [out, groups]
  // The checkpoint's dtype, [ceil(out / scale_group_size), groups].
  at::Tensor scale_steps, scale_lows, zero_steps, zero_lows;
  // Compressed sparse rows of the outliers, which replace what the codes say; columns of the weight, ascending.
  at::Tensor outlier_offsets;  // int32 [out + 1]
  at::Tensor outlier_columns;  // int32 [count]
  at::Tensor outlier_values;   // [count], the checkpoint's dtype
};

struct LinearResult {
  // What the model computes with from now on: [out, in] in the checkpoint's dtype; equal to the bit to what a loader
  // makes of `quantized` or `spqr`.
  at::Tensor weight;
  std::optional<QuantizedWeight> quantized;
  std::optional<SpqrWeight> spqr;
  at::Tensor pruned;            // bool [out, in], true where this step pruned; undefined: it prunes nothing
  std::string method;           // "gptq", "rtn", "rtn (fallback)"
  double relative_error = 0.0;  // tr(dW S dW') / tr(W S W'); S is the identity where no statistics were needed
  double energy = 0.0;          // tr(W S W'), by which the errors of some rows each are joined
  double damping = 0.0;
  int64_t dead_columns = 0;
  double seconds = 0.0;
  std::string warning;  // empty: none
};

// One compression method with its options. Thread-safe; deterministic for a given thread count.
class Method {
 public:
  virtual ~Method() = default;
  virtual StatisticsNeeds needs() const = 0;
  // Rows that have to go together: what becomes of a run of so many rows does not depend on the others (but through
  // LinearTask.whole), so that workers may divide them. 0: the matrix goes as a whole.
  virtual int64_t row_unit() const { return 0; }
  // Compresses linears that share one input (so that a factorization is made once). `statistics` is null where nothing
  // is needed. NaN or Inf in a weight is NON_FINITE_WEIGHTS with the module's name. Results in the order of the tasks.
  virtual absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                             const InputStatistics* statistics) const = 0;
};

// A linear of a block as a transform sees it.
struct TransformLinear {
  std::string role;      // "q_proj" and so on
  int input = 0;         // 0: {q,k,v}, 1: {o}, 2: {gate,up}, 3: {down}
  at::Tensor weight;     // [out, in]; replaced where the transform changes it
  at::Tensor bias;       // [out] or undefined; likewise
  bool targeted = true;  // a later step quantizes it; false: it stays dense (and may still be folded into)
};

// One block's linears and the norms before inputs 0 and 2. Tensors are replaced, never written into.
struct TransformBlock {
  int64_t index = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::vector<TransformLinear> linears;
  at::Tensor input_norm;           // [hidden]
  at::Tensor post_attention_norm;  // [hidden]
  // Of each input: what the transform needs where a linear of it is targeted, and what other steps do.
  std::array<InputStatistics, 4>* statistics = nullptr;
};

// Changes a block without changing what it computes (but for rounding), so that what follows loses less. A method of
// its own (SmoothQuant) or the first half of one (AWQ).
class Transform {
 public:
  virtual ~Transform() = default;
  // For each input of the block that has a targeted linear.
  virtual StatisticsNeeds needs(int input) const = 0;
  // Also rescales `block.statistics` to what the changed linears will see. Returns what a user should know.
  virtual absl::StatusOr<std::vector<std::string>> Apply(TransformBlock& block) const = 0;
};

// The method of a resolved step (every default filled in); null for a step that only transforms.
absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const v1::Step& step);
// The transform of a resolved step; null for one that has none.
absl::StatusOr<std::unique_ptr<Transform>> MakeTransform(const v1::Step& step);

// The weight that a loader makes of the codes: (codes - zero_points) * scales in the scales' dtype, [out, in].
at::Tensor Dequantize(const QuantizedWeight& weight);
// The same of SpQR's: [out, in] in the checkpoint's dtype, on the CPU. Codes, order and columns are in range.
at::Tensor DequantizeSpqr(const SpqrWeight& weight);
// The weight as compress/checkpoint writes it; a view of the tensors' memory.
checkpoint::SpqrView ViewOf(const SpqrWeight& weight);

}  // namespace calipress::method
