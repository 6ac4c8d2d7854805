#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/engine/block_solver.h"
#include "compress/engine/context.h"
#include "compress/engine/hidden_stream.h"
#include "compress/engine/tokens.h"
#include "compress/model/block.h"

namespace calipress::engine {

// The micro-batches that enter this stage: embedded ids on rank 0, hidden states from the previous rank elsewhere.
class StageInputs {
 public:
  static absl::StatusOr<std::unique_ptr<StageInputs>> Create(StageContext& context, const SharedTokens& tokens);
  // In order.
  absl::StatusOr<at::Tensor> Next();

 private:
  StageInputs(StageContext& context, const SharedTokens& tokens) : context_(context), tokens_(tokens) {}

  StageContext& context_;
  const SharedTokens& tokens_;
  std::optional<model::Embedding> embedding_;
  std::optional<HiddenReceiver> receiver_;
  int64_t next_ = 0;
};

// Blocks of the original model that were loaded once and are kept, while they fit `budget` bytes; the others are loaded
// each time. What is given out may be changed: only its tensors are shared, and nobody writes into them. Thread-safe.
class OriginalBlocks {
 public:
  OriginalBlocks(const OpenModel& model, int64_t budget) : model_(model), left_(budget) {}
  absl::StatusOr<model::Block> Get(int64_t index);
  bool KeepsAll(int64_t blocks) const;

 private:
  const OpenModel& model_;
  mutable std::mutex mutex_;
  int64_t left_;
  std::map<int64_t, model::Block> kept_;
};

// A block of the original model.
absl::StatusOr<model::Block> LoadSourceBlock(StageContext& context, int64_t index);

// A block of this stage: as an earlier attempt left it where that finished it, from the source otherwise.
absl::StatusOr<model::Block> LoadStageBlock(StageContext& context, int64_t index);

// One forward of a block as it is, down to what down_proj takes; `visit` sees the activations of each input. Returns
// the hidden states before the MLP and the input of down_proj, from which AddMlp makes the block's output.
struct BlockInterior {
  at::Tensor hidden;
  at::Tensor activation;
};
using InputVisitor = std::function<void(int input, const at::Tensor& activations)>;
BlockInterior VisitBlockInputs(StageContext& context, const model::Block& block, const at::Tensor& hidden,
                               const model::RotaryTable& rotary, const InputVisitor& visit);
// The same with statistics of every input that the solver wants them of.
BlockInterior AddBlockStatistics(StageContext& context, const model::Block& block, const at::Tensor& hidden,
                                 const model::RotaryTable& rotary, BlockSolver& solver);

// True where some step asks for {q,k,v} -> {o} -> {gate,up} -> {down}, each on compressed predecessors.
bool IsTrueSequential(const v1::Recipe& recipe);

// Of the weights of a block's linears.
int64_t LinearBytes(const arch::ArchSpec& spec, int64_t block);

// Options of hidden states: the checkpoint's dtype on the stage's device.
at::TensorOptions HiddenOptions(const StageContext& context);

}  // namespace calipress::engine
