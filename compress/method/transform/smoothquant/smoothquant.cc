#include "compress/method/transform/smoothquant/smoothquant.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/method/transform/fold.h"

namespace calipress::method {
namespace {

constexpr double kLeast = 1e-5;  // as the reference clamps

class SmoothQuant : public Transform {
 public:
  explicit SmoothQuant(double alpha) : alpha_(alpha) {}

  StatisticsNeeds needs(int input) const override { return {.absolute_max = input == 0 || input == 2}; }

  absl::StatusOr<std::vector<std::string>> Apply(TransformBlock& block) const override {
    for (const int input : {0, 2}) CALIPRESS_RETURN_IF_ERROR(Smooth(block, input));
    return std::vector<std::string>();
  }

 private:
  absl::Status Smooth(TransformBlock& block, int input) const {
    CALIPRESS_ASSIGN_OR_RETURN(const auto group, transform::GroupOf(block, input));
    at::Tensor weights;
    for (const TransformLinear* linear : group ? group->consumers : std::vector<TransformLinear*>()) {
      if (!linear->targeted) continue;
      const at::Tensor largest = linear->weight.abs().amax(0).to(at::kDouble);
      weights = weights.defined() ? at::maximum(weights, largest) : largest;
    }
    if (!weights.defined()) return absl::OkStatus();
    InputStatistics* statistics = block.statistics == nullptr ? nullptr : &(*block.statistics)[input];
    if (statistics == nullptr || !statistics->absolute_max.defined() ||
        statistics->absolute_max.sizes() != weights.sizes()) {
      return DefectError("smoothquant was given no maxima for input " + std::to_string(input) + " of block " +
                         std::to_string(block.index));
    }
    const at::Tensor inputs = statistics->absolute_max.to(weights.device(), at::kDouble);
    if (!at::isfinite(inputs).all().item<bool>()) {
      return PreconditionError(reason::kNonFiniteActivations,
                               "inputs of block " + std::to_string(block.index) +
                                   " hold NaN or Inf; the model breaks on the calibration data: check it on the same "
                                   "text first");
    }
    at::Tensor scales = inputs.pow(alpha_).div_(weights.clamp_min_(kLeast).pow(1.0 - alpha_)).clamp_min_(kLeast);
    // The reference gives channels without input its least scale, which would blow up what they see elsewhere.
    scales = at::where(inputs.gt(0.0), scales, at::ones_like(scales));
    transform::Fold(*group, scales.to(at::kFloat), *statistics);
    return absl::OkStatus();
  }

  const double alpha_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transform>> MakeSmoothQuant(const v1::Step& step) {
  const double alpha = step.smoothquant().alpha();
  if (!(alpha >= 0.0 && alpha <= 1.0)) {
    return UserError(reason::kInvalidRecipe, "smoothquant.alpha is " + std::to_string(alpha) + "; choose 0 to 1");
  }
  return std::make_unique<SmoothQuant>(alpha);
}

}  // namespace calipress::method
