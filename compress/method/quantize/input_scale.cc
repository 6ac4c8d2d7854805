#include "compress/method/quantize/input_scale.h"

#include <string>

#include <ATen/ops/isfinite.h>

#include "compress/base/error.h"
#include "compress/method/quantize/grid.h"

namespace calipress::method {

using checkpoint::Activations;
using checkpoint::QuantizationScheme;

absl::Status CheckInputs(std::string_view module, const InputStatistics* statistics, const QuantizationScheme& scheme) {
  if (scheme.activations != Activations::kStatic) return absl::OkStatus();
  const std::string name(module);
  if (statistics == nullptr || !statistics->absolute_max.defined()) {
    return DefectError("static activations were given no maxima for " + name);
  }
  if (at::isfinite(statistics->absolute_max).all().item<bool>()) return absl::OkStatus();
  return PreconditionError(reason::kNonFiniteActivations,
                           "the inputs of " + name +
                               " hold NaN or Inf; the model breaks on the calibration data: check it on the same text "
                               "first");
}

at::Tensor InputScaleOf(const InputStatistics* statistics, const QuantizationScheme& scheme, at::ScalarType dtype) {
  if (scheme.activations != Activations::kStatic) return at::Tensor();
  const at::Tensor reach = statistics->absolute_max.max().to(at::kFloat).cpu().view({1, 1});
  const QuantizationScheme inputs{.bits = 8, .group_size = -1, .symmetric = true, .type = scheme.type};
  return GridOf({reach.neg(), reach}, dtype, inputs).scales.to(at::kFloat).view({1});
}

}  // namespace calipress::method
