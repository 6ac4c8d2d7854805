#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "compress/arch/arch.h"
#include "compress/engine/block_file.h"
#include "compress/engine/context.h"
#include "compress/method/method.h"
#include "compress/model/block.h"
#include "compress/tensor/second_moment.h"

namespace calipress::engine {

// Applies the recipe's steps to the linears of one block, input by input. Statistics are added by whoever runs the
// block's forward; the solver knows which are wanted.
class BlockSolver {
 public:
  // Methods are shared by all blocks; made once.
  static absl::StatusOr<std::vector<std::unique_ptr<method::Method>>> MakeMethods(const v1::Recipe& recipe);

  BlockSolver(StageContext& context, const std::vector<std::unique_ptr<method::Method>>& methods, model::Block& block);

  static constexpr int kInputs = 4;

  // True where a step wants second moments of this input of the block.
  bool WantsStatistics(int input) const { return needs_[input]; }
  // True where any step acts on a linear of this input.
  bool HasWork(int input) const { return work_[input]; }

  // Adds a micro-batch of input activations, [..., features].
  void AddStatistics(int input, const at::Tensor& activations);

  // Compresses the linears of one input, puts the compressed weights into the block, drops the statistics.
  absl::Status Solve(int input);

  CompressedBlock TakeResult() { return std::move(result_); }

 private:
  StageContext& context_;
  const std::vector<std::unique_ptr<method::Method>>& methods_;
  model::Block& block_;
  std::vector<arch::LinearSpec> linears_;
  std::vector<int> steps_;  // of each linear; -1: left as it is
  std::array<bool, kInputs> needs_{};
  std::array<bool, kInputs> work_{};
  std::array<std::unique_ptr<tensor::SecondMoment>, kInputs> moments_;
  CompressedBlock result_;
};

}  // namespace calipress::engine
