#include <ATen/core/grad_mode.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/block_prefetch.h"
#include "compress/engine/block_solver.h"
#include "compress/engine/block_writer.h"
#include "compress/engine/compress_phase.h"
#include "compress/engine/stage_blocks.h"

namespace calipress::engine {
namespace {

// What one block needs while micro-batches stream through: its weights, and the second moments of its inputs.
int64_t StreamingBytes(const arch::ArchSpec& spec, int64_t block) {
  int64_t bytes = 0;
  int last_input = -1;
  for (const auto& linear : arch::BlockLinears(spec, block)) {
    bytes += linear.in * linear.out * DtypeBytes(spec.dtype);
    if (linear.input == last_input) continue;
    bytes += tensor::SecondMoment::Bytes(linear.in);
    last_input = linear.input;
  }
  return bytes;
}

// A block that micro-batches are streaming through.
struct StreamedBlock {
  std::unique_ptr<model::Block> block;
  std::unique_ptr<BlockSolver> solver;  // null: an earlier attempt finished it
};

void Report(StageContext& context, double done, const std::string& message) {
  const double blocks = context.assignment.end_block() - context.assignment.first_block();
  context.observer.OnProgress(kCompressPhase, done / blocks, message);
}

}  // namespace

absl::Status CompressWithoutStatistics(StageContext& context, const StepMethods& methods) {
  at::NoGradGuard no_grad;
  // Nothing passes from one block to the next: replicas, which have all of them, do those that they write.
  std::vector<int64_t> mine;
  for (int64_t index = context.assignment.first_block(); index < context.assignment.end_block(); ++index) {
    if (context.Finished(index) == nullptr && context.Writes(index)) mine.push_back(index);
  }
  const int64_t count = static_cast<int64_t>(mine.size());
  BlockPrefetch blocks(0, count, [&](int64_t i) { return LoadStageBlock(context, mine[i]); });
  BlockWriter writer(context);
  for (int64_t i = 0; i < count; ++i) {
    context.observer.OnProgress(kCompressPhase, static_cast<double>(i) / static_cast<double>(count),
                                "block " + std::to_string(mine[i]));
    CALIPRESS_ASSIGN_OR_RETURN(model::Block block, blocks.Next());
    BlockSolver solver(context, methods, block, /*tokens=*/0);
    for (int input = 0; input < BlockSolver::kInputs; ++input) CALIPRESS_RETURN_IF_ERROR(solver.Solve(input));
    CALIPRESS_RETURN_IF_ERROR(writer.Write(solver.TakeResult()));
  }
  return writer.Finish();
}

absl::Status CompressStreaming(StageContext& context, const StepMethods& methods, const SharedTokens& tokens) {
  at::NoGradGuard no_grad;
  const int64_t begin = context.assignment.first_block(), end = context.assignment.end_block();
  const auto rotary = model::MakeRotaryTable(context.spec(), tokens.batches.length, context.device);
  // Original weights throughout, also of blocks that an earlier attempt has finished: propagation is original.
  BlockPrefetch blocks(begin, end, [&](int64_t index) {
    TimedActivity timed(context.activities, Activity::kRead);
    return model::Block::Load(context.spec(), index, *context.model->weights);
  });
  BlockWriter writer(context);
  HiddenSender sender(context.environment.group, context.activities);
  CALIPRESS_ASSIGN_OR_RETURN(auto inputs, StageInputs::Create(context, tokens));
  std::vector<at::Tensor> hidden(tokens.batches.count());

  for (int64_t first = begin; first < end;) {
    std::vector<StreamedBlock> window;
    int64_t bytes = 0;
    for (int64_t index = first; index < end; ++index) {
      bytes += StreamingBytes(context.spec(), index);
      if (!window.empty() && bytes > context.environment.memory_budget) break;
      CALIPRESS_ASSIGN_OR_RETURN(model::Block block, blocks.Next());
      auto& streamed = window.emplace_back();
      streamed.block = std::make_unique<model::Block>(std::move(block));
      if (context.Finished(index) == nullptr) {
        streamed.solver =
            std::make_unique<BlockSolver>(context, methods, *streamed.block, tokens.all_tokens(), tokens.first_token());
      }
    }
    const int64_t after = first + static_cast<int64_t>(window.size());
    for (int64_t i = 0; i < tokens.batches.count(); ++i) {
      CALIPRESS_RETURN_IF_ERROR(context.cancellation.status());
      Report(context, first - begin + 0.6 * window.size() * i / tokens.batches.count(),
             "blocks " + std::to_string(first) + ".." + std::to_string(after - 1) + ": statistics");
      if (first == begin) {
        CALIPRESS_ASSIGN_OR_RETURN(hidden[i], inputs->Next());
      }
      for (const StreamedBlock& streamed : window) {
        const bool model_ends = streamed.block->index() + 1 == context.spec().blocks;
        if (!streamed.solver) {
          TimedActivity timed(context.activities, Activity::kForward);
          if (!model_ends) hidden[i] = streamed.block->Forward(hidden[i], rotary);
          continue;
        }
        BlockInterior interior = AddBlockStatistics(context, *streamed.block, hidden[i], rotary, *streamed.solver);
        TimedActivity timed(context.activities, Activity::kForward);
        hidden[i] = model_ends ? at::Tensor() : streamed.block->AddMlp(interior.hidden, interior.activation);
      }
      if (after == end) {
        if (!context.last()) CALIPRESS_RETURN_IF_ERROR(sender.Put(hidden[i]));
        hidden[i] = at::Tensor();
      }
    }
    for (size_t i = 0; i < window.size(); ++i) {
      if (!window[i].solver) continue;
      Report(context, first - begin + 0.6 * window.size() + 0.4 * i,
             "block " + std::to_string(window[i].block->index()) + ": solving");
      CALIPRESS_RETURN_IF_ERROR(window[i].solver->Transform());
      for (int input = 0; input < BlockSolver::kInputs; ++input) {
        CALIPRESS_RETURN_IF_ERROR(window[i].solver->Solve(input));
      }
      if (context.Writes(window[i].block->index())) {
        CALIPRESS_RETURN_IF_ERROR(writer.Write(window[i].solver->TakeResult()));
      }
      window[i] = {};
    }
    first = after;
  }
  CALIPRESS_RETURN_IF_ERROR(sender.Drain());
  return writer.Finish();
}

}  // namespace calipress::engine
