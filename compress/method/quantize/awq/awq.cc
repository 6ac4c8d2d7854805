#include "compress/method/quantize/awq/awq.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/method/quantize/awq/clip.h"
#include "compress/method/quantize/awq/output_error.h"
#include "compress/method/quantize/awq/search.h"
#include "compress/method/quantize/gptq/moment.h"
#include "compress/method/quantize/grid.h"
#include "compress/method/quantize/masked_weight.h"
#include "compress/method/quantize/scheme.h"
#include "compress/method/transform/fold.h"

namespace calipress::method {
namespace {

constexpr int kMaxGrid = 100;

class AwqTransform : public Transform {
 public:
  explicit AwqTransform(const awq::SearchOptions& options) : options_(options) {}

  StatisticsNeeds needs(int) const override { return {.second_moment = true, .absolute_sum = true}; }

  absl::StatusOr<std::vector<std::string>> Apply(TransformBlock& block) const override {
    for (int input = 0; input < 4; ++input) CALIPRESS_RETURN_IF_ERROR(Scale(block, input));
    return std::vector<std::string>();
  }

 private:
  absl::Status Scale(TransformBlock& block, int input) const {
    const auto takes = [input](const TransformLinear& linear) { return linear.input == input && linear.targeted; };
    if (std::none_of(block.linears.begin(), block.linears.end(), takes)) return absl::OkStatus();
    CALIPRESS_ASSIGN_OR_RETURN(const auto group, transform::GroupOf(block, input));
    if (!group) return absl::OkStatus();
    InputStatistics* statistics = block.statistics == nullptr ? nullptr : &(*block.statistics)[input];
    std::vector<LinearTask> tasks;
    for (const TransformLinear* linear : group->consumers) {
      if (!linear->targeted) continue;
      tasks.push_back({"block " + std::to_string(block.index) + ": " + linear->role, linear->weight});
      CALIPRESS_RETURN_IF_ERROR(CheckWeight(tasks.back().module, linear->weight, options_.scheme));
    }
    CALIPRESS_RETURN_IF_ERROR(gptq::CheckSecondMoment("AWQ", tasks, statistics));
    if (!statistics->absolute_sum.defined() || statistics->absolute_sum.size(0) != statistics->second_moment.size(0)) {
      return DefectError("AWQ was given no absolute sums that fit " + gptq::NamesOf(tasks));
    }
    const awq::SearchResult found = awq::SearchScales(*group, *statistics, options_);
    if (found.scales.defined()) transform::Fold(*group, found.scales, *statistics);
    return absl::OkStatus();
  }

  const awq::SearchOptions options_;
};

class Awq : public Method {
 public:
  Awq(const checkpoint::QuantizationScheme& scheme, Observer observer, bool clip)
      : scheme_(scheme), observer_(observer), clip_(clip) {}

  StatisticsNeeds needs() const override { return {.second_moment = true}; }

  absl::StatusOr<std::vector<LinearResult>> Compress(const std::vector<LinearTask>& tasks,
                                                     const InputStatistics* statistics) const override {
    if (tasks.empty()) return std::vector<LinearResult>();
    for (const LinearTask& task : tasks) CALIPRESS_RETURN_IF_ERROR(CheckWeight(task.module, task.weight, scheme_));
    CALIPRESS_RETURN_IF_ERROR(gptq::CheckSecondMoment("AWQ", tasks, statistics));
    std::vector<LinearResult> results;
    for (const LinearTask& task : tasks) results.push_back(Quantize(task, *statistics));
    return results;
  }

 private:
  QuantizedWeight Rounded(const at::Tensor& weight, const Grid& grid) const {
    return {scheme_, NearestCodes(weight, grid, scheme_), grid.scales, grid.zero_points, {}};
  }

  LinearResult Quantize(const LinearTask& task, const InputStatistics& statistics) const {
    const auto start = std::chrono::steady_clock::now();
    const at::Tensor& moment = statistics.second_moment;
    const at::Tensor weight = MaskedWeight(task);
    LinearResult result;
    result.method = "awq";
    result.quantized = Rounded(weight, FitGrid(weight, scheme_, observer_));
    result.weight = Dequantize(*result.quantized);
    double error = awq::OutputError(weight, result.weight, moment);
    // Scores of queries and keys are products of both, which the error of either alone does not show (llm-awq).
    if (clip_ && task.role != "q_proj" && task.role != "k_proj") {
      QuantizedWeight clipped = Rounded(weight, awq::FitClippedGrid(weight, scheme_, moment));
      at::Tensor clipped_weight = Dequantize(clipped);
      // Groups were clipped one by one; what their errors make together decides.
      const double clipped_error = awq::OutputError(weight, clipped_weight, moment);
      if (clipped_error < error) {
        result.quantized = std::move(clipped);
        result.weight = std::move(clipped_weight);
        error = clipped_error;
      }
    }
    const double all = awq::OutputError(weight, at::Tensor(), moment);
    result.relative_error = all > 0.0 ? std::max(0.0, error) / all : 0.0;
    result.dead_columns = moment.diagonal().eq(0.0).sum().item<int64_t>();
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  }

  const checkpoint::QuantizationScheme scheme_;
  const Observer observer_;
  const bool clip_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Transform>> MakeAwqTransform(const v1::Step& step) {
  const v1::Awq& options = step.awq();
  CALIPRESS_ASSIGN_OR_RETURN(const auto scheme, MakeScheme(step));
  if (options.grid() < 1 || options.grid() > kMaxGrid) {
    return UserError(reason::kInvalidRecipe,
                     "awq.grid is " + std::to_string(options.grid()) + "; give 1 to " + std::to_string(kMaxGrid));
  }
  return std::make_unique<AwqTransform>(
      awq::SearchOptions{scheme, options.search() != v1::AWQ_SEARCH_ACTIVATIONS, options.grid()});
}

absl::StatusOr<std::unique_ptr<Method>> MakeAwq(const v1::Step& step) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto scheme, MakeScheme(step));
  return std::make_unique<Awq>(scheme, ObserverOf(step.awq().observer()), step.awq().clip());
}

}  // namespace calipress::method
