#pragma once

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "compress/arch/arch.h"
#include "compress/engine/block_file.h"
#include "compress/engine/context.h"
#include "compress/engine/domain_statistics.h"
#include "compress/engine/step_methods.h"
#include "compress/engine/tokens.h"
#include "compress/method/method.h"
#include "compress/model/block.h"

namespace calipress::engine {

// Applies the recipe's steps to the linears of one block, input by input: what transforms, then what prunes, then what
// quantizes. Statistics are added by whoever runs the block's forward; the solver knows which are wanted.
class BlockSolver {
 public:
  // `tokens`: the calibration set; null where there is none. All references outlive the solver. Replicas with a
  // calibration set solve together: they all call the same, in the same order.
  BlockSolver(StageContext& context, const StepMethods& methods, model::Block& block, const SharedTokens* tokens);

  static constexpr int kInputs = 4;

  // True where a step wants statistics of this input of the block.
  bool WantsStatistics(int input) const { return needs_[input].Any(); }

  const method::StatisticsNeeds& needs(int input) const { return needs_[input]; }
  int64_t features(int input) const { return features_[input]; }

  // Adds a micro-batch of input activations, [sequences, length, features].
  void AddStatistics(int input, const at::Tensor& activations);
  // Or: takes over what was gathered elsewhere by the plan of these tokens, one per domain, at least what it needs.
  void Adopt(int input, std::vector<method::InputStatistics> domains);

  // Once all statistics of all inputs are there, and before the first Solve: lets steps that transform change the block
  // as a whole. Nothing to do where no step does.
  absl::Status Transform();

  // Compresses the linears of one input, puts the compressed weights into the block, drops the statistics.
  absl::Status Solve(int input);

  CompressedBlock TakeResult() { return std::move(result_); }

 private:
  struct Linear {
    arch::LinearSpec spec;
    std::vector<int> steps;  // in the order they act
  };
  // One linear on its way through the steps.
  struct Work {
    const Linear* linear;
    at::Tensor original;
    method::LinearTask task;
    method::LinearResult result;
    std::vector<std::string> methods;
  };

  void MakeAccumulator(int input);
  absl::Status TakeStatistics(int input);
  absl::Status TransformHere();
  // For an imatrix, where the recipe asks for one.
  absl::Status KeepSquareSum(int input);
  absl::Status RunStep(int step, int input, std::vector<Work>& works);
  void Finish(int input, Work& work);

  StageContext& context_;
  const StepMethods& methods_;
  model::Block& block_;
  const SharedTokens* const tokens_;
  const bool together_;  // with the other replicas
  std::vector<Linear> linears_;
  std::array<method::StatisticsNeeds, kInputs> needs_;
  std::array<int64_t, kInputs> features_ = {};
  // Before they are taken: added up here, or adopted.
  std::array<std::unique_ptr<DomainStatistics>, kInputs> accumulators_;
  std::array<std::vector<method::InputStatistics>, kInputs> adopted_;
  std::array<bool, kInputs> taken_ = {};
  std::array<method::InputStatistics, kInputs> statistics_;
  CompressedBlock result_;
};

}  // namespace calipress::engine
