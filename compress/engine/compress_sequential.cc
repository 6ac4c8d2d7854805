#include <optional>

#include <ATen/core/grad_mode.h>

#include "compress/base/status_macros.h"
#include "compress/engine/block_prefetch.h"
#include "compress/engine/block_solver.h"
#include "compress/engine/block_writer.h"
#include "compress/engine/compress_phase.h"
#include "compress/engine/stage_blocks.h"
#include "compress/model/weights.h"

namespace calipress::engine {
namespace {

// The hidden states of all micro-batches, on their way through this stage's blocks.
class SequentialRun {
 public:
  SequentialRun(StageContext& context, const StepMethods& methods, const SharedTokens& tokens)
      : context_(context),
        methods_(methods),
        tokens_(tokens),
        rotary_(model::MakeRotaryTable(context.spec(), tokens.batches.length, context.device)),
        sender_(context.environment.group, context.activities) {}

  absl::Status Run();

 private:
  int64_t count() const { return tokens_.batches.count(); }
  absl::Status TakeInputs();
  absl::Status GoThroughBlocks();
  absl::Status SolveInTurn(model::Block& block, BlockSolver& solver);
  absl::Status SolveTogether(model::Block& block, BlockSolver& solver);
  absl::Status Forward(model::Block& block);
  // Hidden states after the block, for the next block or stage.
  absl::Status Leave(int64_t batch, at::Tensor hidden);
  void Progress(double within_block, const std::string& what);
  absl::Status Check() const { return context_.cancellation.status(); }

  StageContext& context_;
  const StepMethods& methods_;
  const SharedTokens& tokens_;
  model::RotaryTable rotary_;
  HiddenSender sender_;
  std::vector<at::Tensor> hidden_;
  int64_t block_ = 0;
};

void SequentialRun::Progress(double within_block, const std::string& what) {
  const int64_t begin = context_.assignment.first_block(), end = context_.assignment.end_block();
  context_.observer.OnProgress(kCompressPhase, (block_ - begin + within_block) / static_cast<double>(end - begin),
                               "block " + std::to_string(block_) + ": " + what);
}

absl::Status SequentialRun::TakeInputs() {
  CALIPRESS_ASSIGN_OR_RETURN(auto inputs, StageInputs::Create(context_, tokens_));
  for (int64_t i = 0; i < count(); ++i) {
    CALIPRESS_RETURN_IF_ERROR(Check());
    CALIPRESS_ASSIGN_OR_RETURN(hidden_.emplace_back(), inputs->Next());
  }
  return absl::OkStatus();
}

absl::Status SequentialRun::Leave(int64_t batch, at::Tensor hidden) {
  if (block_ + 1 < context_.assignment.end_block()) {
    hidden_[batch] = std::move(hidden);
    return absl::OkStatus();
  }
  hidden_[batch] = at::Tensor();
  return context_.last() ? absl::OkStatus() : sender_.Put(std::move(hidden));
}

absl::Status SequentialRun::Forward(model::Block& block) {
  // Nobody reads what leaves the model's last block here: evaluation has a pass of its own.
  if (block_ + 1 == context_.spec().blocks) return absl::OkStatus();
  for (int64_t i = 0; i < count(); ++i) {
    CALIPRESS_RETURN_IF_ERROR(Check());
    at::Tensor out;
    {
      TimedActivity timed(context_.activities, Activity::kForward);
      out = block.Forward(hidden_[i], rotary_);
    }
    CALIPRESS_RETURN_IF_ERROR(Leave(i, std::move(out)));
  }
  return absl::OkStatus();
}

// True-sequential: {q,k,v}, {o}, {gate,up}, {down}, each on activations that its compressed predecessors gave. The
// hidden states walk through the block once, stopping where a group of linears takes its input: one forward in all.
absl::Status SequentialRun::SolveInTurn(model::Block& block, BlockSolver& solver) {
  auto forward = [&](auto&& body) {
    TimedActivity timed(context_.activities, Activity::kForward);
    return body();
  };
  const bool last_block = block_ + 1 == context_.spec().blocks;

  Progress(0.0, "q_proj, k_proj, v_proj");
  if (solver.WantsStatistics(0)) {
    for (int64_t i = 0; i < count(); ++i) {
      CALIPRESS_RETURN_IF_ERROR(Check());
      solver.AddStatistics(0, forward([&] { return block.AttentionInput(hidden_[i]); }));
    }
  }
  CALIPRESS_RETURN_IF_ERROR(solver.Solve(0));

  Progress(0.2, "o_proj");
  std::vector<at::Tensor> heads(count());
  for (int64_t i = 0; i < count(); ++i) {
    CALIPRESS_RETURN_IF_ERROR(Check());
    heads[i] = forward([&] { return block.AttentionOutput(block.AttentionInput(hidden_[i]), rotary_); });
    solver.AddStatistics(1, heads[i]);
  }
  CALIPRESS_RETURN_IF_ERROR(solver.Solve(1));

  Progress(0.4, "gate_proj, up_proj");
  for (int64_t i = 0; i < count(); ++i) {
    CALIPRESS_RETURN_IF_ERROR(Check());
    at::Tensor input = forward([&] {
      hidden_[i] = block.AddAttention(hidden_[i], heads[i]);
      heads[i] = at::Tensor();
      return solver.WantsStatistics(2) ? block.MlpInput(hidden_[i]) : at::Tensor();
    });
    solver.AddStatistics(2, input);
  }
  CALIPRESS_RETURN_IF_ERROR(solver.Solve(2));

  Progress(0.6, "down_proj");
  // What goes into down_proj is the widest activation. It is kept where it fits the budget, and made again from the
  // hidden states where it does not.
  const int64_t wide_bytes = tokens_.batches.sequences * tokens_.batches.length * context_.spec().intermediate *
                             DtypeBytes(context_.spec().dtype);
  const bool keep = !last_block && wide_bytes <= context_.environment.memory_budget / 4;
  std::vector<at::Tensor> wide(count());
  if (keep || solver.WantsStatistics(3)) {
    for (int64_t i = 0; i < count(); ++i) {
      CALIPRESS_RETURN_IF_ERROR(Check());
      at::Tensor activation = forward([&] { return block.MlpActivation(block.MlpInput(hidden_[i])); });
      solver.AddStatistics(3, activation);
      if (keep) wide[i] = std::move(activation);
    }
  }
  CALIPRESS_RETURN_IF_ERROR(solver.Solve(3));

  if (last_block) return absl::OkStatus();
  Progress(0.9, "outputs");
  for (int64_t i = 0; i < count(); ++i) {
    CALIPRESS_RETURN_IF_ERROR(Check());
    at::Tensor out = forward([&] {
      if (!wide[i].defined()) wide[i] = block.MlpActivation(block.MlpInput(hidden_[i]));
      return block.AddMlp(hidden_[i], wide[i]);
    });
    wide[i] = at::Tensor();
    CALIPRESS_RETURN_IF_ERROR(Leave(i, std::move(out)));
  }
  return absl::OkStatus();
}

// All statistics from one pass of the block as it was, then a pass of the compressed block.
absl::Status SequentialRun::SolveTogether(model::Block& block, BlockSolver& solver) {
  Progress(0.0, "statistics");
  for (int64_t i = 0; i < count(); ++i) {
    CALIPRESS_RETURN_IF_ERROR(Check());
    AddBlockStatistics(context_, block, hidden_[i], rotary_, solver);
  }
  CALIPRESS_RETURN_IF_ERROR(solver.Transform());
  for (int input = 0; input < BlockSolver::kInputs; ++input) {
    Progress(0.4 + 0.1 * input, "input " + std::to_string(input));
    CALIPRESS_RETURN_IF_ERROR(solver.Solve(input));
  }
  Progress(0.8, "outputs");
  return Forward(block);
}

absl::Status SequentialRun::Run() {
  context_.out_of_step = true;
  CALIPRESS_RETURN_IF_ERROR(TakeInputs());
  context_.out_of_step = false;
  const absl::Status status = GoThroughBlocks();
  if (!EndsRunAlone(context_, status) || context_.last()) return status;
  CALIPRESS_RETURN_IF_ERROR(sender_.PutRest(tokens_.batches, {context_.spec().hidden, HiddenOptions(context_)}));
  return status;
}

absl::Status SequentialRun::GoThroughBlocks() {
  const int64_t begin = context_.assignment.first_block(), end = context_.assignment.end_block();
  BlockPrefetch blocks(begin, end, [this](int64_t index) { return LoadStageBlock(context_, index); });
  BlockWriter writer(context_);
  for (block_ = begin; block_ < end; ++block_) {
    CALIPRESS_ASSIGN_OR_RETURN(model::Block block, blocks.Next());
    if (context_.Finished(block_) != nullptr) {
      Progress(0.0, "finished before; forward");
      CALIPRESS_RETURN_IF_ERROR(Forward(block));
      continue;
    }
    BlockSolver solver(context_, methods_, block, &tokens_);
    CALIPRESS_RETURN_IF_ERROR(IsTrueSequential(context_.recipe()) && !methods_.HasTransforms()
                                  ? SolveInTurn(block, solver)
                                  : SolveTogether(block, solver));
    if (!context_.Writes(block_)) continue;
    CALIPRESS_RETURN_IF_ERROR(writer.Write(solver.TakeResult()));
  }
  CALIPRESS_RETURN_IF_ERROR(sender_.Drain());
  return writer.Finish();
}

}  // namespace

absl::Status CompressSequential(StageContext& context, const StepMethods& methods, const SharedTokens& tokens) {
  at::NoGradGuard no_grad;
  return SequentialRun(context, methods, tokens).Run();
}

}  // namespace calipress::engine
