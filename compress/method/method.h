#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::method {

// What a method wants to know of a linear's input.
enum class StatisticsKind {
  kNone,
  kHessian,  // second moments: enough for GPTQ and all that follows from its diagonal
};

// Input statistics of the linears that share one input.
struct InputStatistics {
  // [in, in] fp32, both triangles: sum over tokens of x x'.
  at::Tensor second_moment;
  int64_t tokens = 0;
};

// One linear to compress. Tensors are on the worker's device and not changed.
struct LinearTask {
  std::string module;
  at::Tensor weight;  // [out, in], the checkpoint's dtype
};

// Codes and grid of a quantized weight; the weight is (codes - zero_points) * scales, in the dtype of `scales`.
struct QuantizedWeight {
  checkpoint::QuantizationScheme scheme;
  at::Tensor codes;        // int8 [out, in], signed, [-2^(b-1), 2^(b-1)-1]
  at::Tensor scales;       // [out, groups], the checkpoint's dtype (bf16, f16, f32), positive
  at::Tensor zero_points;  // int8 [out, groups], signed like codes; undefined where symmetric
};

struct LinearResult {
  // What the model computes with from now on: [out, in] in the checkpoint's dtype; equal to the bit to what a loader
  // makes of `quantized`.
  at::Tensor weight;
  std::optional<QuantizedWeight> quantized;
  std::string method;           // "gptq", "rtn", "rtn (fallback)"
  double relative_error = 0.0;  // tr(dW S dW') / tr(W S W')
  double damping = 0.0;
  int64_t dead_columns = 0;
  double seconds = 0.0;
  std::string warning;  // empty: none
};

// One compression method with its options. Thread-safe; deterministic for a given thread count.
class Method {
 public:
  virtual ~Method() = default;
  virtual StatisticsKind statistics() const = 0;
  // Compresses linears that share one input (so that a factorization is made once). `statistics` is null for kNone.
  // NaN or Inf in a weight is NON_FINITE_WEIGHTS with the module's name. Results in the order of the tasks.
  virtual absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                             const InputStatistics* statistics) const = 0;
};

// The method of a resolved step (every default filled in).
absl::StatusOr<std::unique_ptr<Method>> MakeMethod(const v1::Step& step);

// The weight that a loader makes of the codes: (codes - zero_points) * scales in the scales' dtype, [out, in].
at::Tensor Dequantize(const QuantizedWeight& weight);

}  // namespace calipress::method
