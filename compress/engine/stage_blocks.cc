#include "compress/engine/stage_blocks.h"

#include <algorithm>

#include "compress/base/status_macros.h"
#include "compress/engine/block_file.h"
#include "compress/model/weights.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {

at::TensorOptions HiddenOptions(const StageContext& context) {
  return at::TensorOptions().dtype(model::ToScalarType(context.spec().dtype)).device(context.device);
}

int64_t LinearBytes(const arch::ArchSpec& spec, int64_t block) {
  int64_t bytes = 0;
  for (const auto& linear : arch::BlockLinears(spec, block)) bytes += linear.in * linear.out * DtypeBytes(spec.dtype);
  return bytes;
}

absl::StatusOr<std::unique_ptr<StageInputs>> StageInputs::Create(StageContext& context, const SharedTokens& tokens) {
  std::unique_ptr<StageInputs> inputs(new StageInputs(context, tokens));
  if (context.first()) {
    TimedActivity timed(context.activities, Activity::kRead);
    CALIPRESS_ASSIGN_OR_RETURN(inputs->embedding_, model::Embedding::Load(context.spec(), *context.model->weights));
  } else {
    inputs->receiver_.emplace(context.environment.group, context.activities, tokens.batches.shapes(),
                              std::vector<HiddenLane>{{context.spec().hidden, HiddenOptions(context)}});
  }
  return inputs;
}

absl::StatusOr<at::Tensor> StageInputs::Next() {
  if (receiver_) return receiver_->Next();
  const int64_t index = next_++;
  TimedActivity timed(context_.activities, Activity::kForward);
  return embedding_->Forward(tokens_.ids.narrow(0, tokens_.batches.first(index), tokens_.batches.size(index)));
}

absl::StatusOr<model::Block> OriginalBlocks::Get(int64_t index) {
  {
    std::scoped_lock lock(mutex_);
    if (const auto found = kept_.find(index); found != kept_.end()) return found->second;
  }
  CALIPRESS_ASSIGN_OR_RETURN(model::Block block, model::Block::Load(model_.spec, index, *model_.weights));
  std::scoped_lock lock(mutex_);
  if (block.Bytes() <= left_ && kept_.emplace(index, block).second) left_ -= block.Bytes();
  return block;
}

bool OriginalBlocks::KeepsAll(int64_t blocks) const {
  std::scoped_lock lock(mutex_);
  return static_cast<int64_t>(kept_.size()) >= blocks;
}

absl::StatusOr<model::Block> LoadSourceBlock(StageContext& context, int64_t index) {
  TimedActivity timed(context.activities, Activity::kRead);
  if (context.study != nullptr) return context.study->source.Get(index);
  return model::Block::Load(context.spec(), index, *context.model->weights);
}

absl::StatusOr<model::Block> LoadStageBlock(StageContext& context, int64_t index) {
  const worker::v1::FinishedBlock* finished = context.Finished(index);
  if (finished == nullptr) return LoadSourceBlock(context, index);
  TimedActivity timed(context.activities, Activity::kRead);
  CALIPRESS_ASSIGN_OR_RETURN(StagedBlock staged, StagedBlock::Open(context.store(), *context.model, context.recipe(),
                                                                   finished->uri(), context.device));
  return model::Block::Load(context.spec(), index, staged.weights());
}

BlockInterior VisitBlockInputs(StageContext& context, const model::Block& block, const at::Tensor& hidden,
                               const model::RotaryTable& rotary, const InputVisitor& visit) {
  auto forward = [&](auto&& body) {
    TimedActivity timed(context.activities, Activity::kForward);
    return body();
  };
  BlockInterior interior;
  at::Tensor input = forward([&] { return block.AttentionInput(hidden); });
  visit(0, input);
  at::Tensor heads = forward([&] { return block.AttentionOutput(input, rotary); });
  visit(1, heads);
  interior.hidden = forward([&] { return block.AddAttention(hidden, heads); });
  input = forward([&] { return block.MlpInput(interior.hidden); });
  visit(2, input);
  interior.activation = forward([&] { return block.MlpActivation(input); });
  visit(3, interior.activation);
  return interior;
}

BlockInterior AddBlockStatistics(StageContext& context, const model::Block& block, const at::Tensor& hidden,
                                 const model::RotaryTable& rotary, BlockSolver& solver) {
  return VisitBlockInputs(context, block, hidden, rotary,
                          [&](int input, const at::Tensor& activations) { solver.AddStatistics(input, activations); });
}

bool IsTrueSequential(const v1::Recipe& recipe) {
  return std::any_of(recipe.steps().begin(), recipe.steps().end(),
                     [](const v1::Step& step) { return recipe::IsTrueSequential(step); });
}

}  // namespace calipress::engine
