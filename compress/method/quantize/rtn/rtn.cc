#include "compress/method/quantize/rtn/rtn.h"

#include <chrono>
#include <utility>

#include <ATen/ops/sub.h>

#include "compress/base/status_macros.h"
#include "compress/method/quantize/grid.h"
#include "compress/method/quantize/input_scale.h"
#include "compress/method/quantize/masked_weight.h"
#include "compress/method/quantize/scheme.h"
#include "compress/tensor/quadratic_form.h"

namespace calipress::method {
namespace {

class Rtn : public Method {
 public:
  Rtn(const checkpoint::QuantizationScheme& scheme, Observer observer) : scheme_(scheme), observer_(observer) {}

  StatisticsNeeds needs() const override {
    return {.absolute_max = scheme_.activations == checkpoint::Activations::kStatic};
  }
  int64_t row_unit() const override { return RowUnit(scheme_); }

  absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                     const InputStatistics* statistics) const override {
    for (const LinearTask& task : tasks) CALIPRESS_RETURN_IF_ERROR(CheckWeight(task.module, task.weight, scheme_));
    for (const LinearTask& task : tasks) {
      CALIPRESS_RETURN_IF_ERROR(CheckInputs(task.module, statistics, scheme_));
    }
    return RoundToNearest(tasks, scheme_, observer_, statistics);
  }

 private:
  const checkpoint::QuantizationScheme scheme_;
  const Observer observer_;
};

}  // namespace

std::vector<LinearResult> RoundToNearest(const std::vector<LinearTask>& tasks,
                                         const checkpoint::QuantizationScheme& scheme, Observer observer,
                                         const InputStatistics* statistics) {
  std::vector<LinearResult> results;
  for (const LinearTask& task : tasks) {
    const auto start = std::chrono::steady_clock::now();
    const at::Tensor weight = MaskedWeight(task);  // zeros have the code of zero on every grid
    Grid grid = FitGrid(weight, scheme, observer);
    LinearResult result;
    result.method = "rtn";
    at::Tensor codes = NearestCodes(weight, grid, scheme);
    result.quantized = QuantizedWeight{scheme, std::move(codes), grid.scales, grid.zero_points,
                                       InputScaleOf(statistics, scheme, weight.scalar_type())};
    result.weight = Dequantize(*result.quantized);
    if (statistics != nullptr && statistics->second_moment.defined()) {
      const at::Tensor difference = at::sub(weight.to(at::kFloat), result.weight.to(at::kFloat));
      const auto forms = tensor::QuadraticForms({difference, weight}, statistics->second_moment);
      result.energy = forms[1];
      result.relative_error = forms[1] > 0.0 ? forms[0] / forms[1] : 0.0;
    } else {
      const tensor::WeightChange change = tensor::RelativeChange(weight, result.weight);
      result.energy = change.total;
      result.relative_error = change.ratio;
    }
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    results.push_back(std::move(result));
  }
  return results;
}

absl::StatusOr<std::unique_ptr<Method>> MakeRtn(const v1::Step& step) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto scheme, MakeScheme(step));
  return std::make_unique<Rtn>(scheme, ObserverOf(step.rtn().observer()));
}

}  // namespace calipress::method
