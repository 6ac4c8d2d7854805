#include <ATen/core/grad_mode.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/block_prefetch.h"
#include "compress/engine/block_solver.h"
#include "compress/engine/block_stream.h"
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
  BlockWriter writer(context);
  CALIPRESS_ASSIGN_OR_RETURN(auto stream, BlockStream::Create(context, tokens, [&context](int64_t block) {
                               return StreamingBytes(context.spec(), block);
                             }));
  double done = 0;
  for (;;) {
    CALIPRESS_ASSIGN_OR_RETURN(auto window, stream->NextWindow());
    if (window.empty()) break;
    const double size = static_cast<double>(window.size());
    const std::string name = "blocks " + std::to_string(window.front()->index()) + ".." +
                             std::to_string(window.back()->index()) + ": statistics";
    // Null: an earlier attempt finished the block.
    std::vector<std::unique_ptr<BlockSolver>> solvers(window.size());
    for (size_t i = 0; i < window.size(); ++i) {
      if (context.Finished(window[i]->index()) != nullptr) continue;
      solvers[i] =
          std::make_unique<BlockSolver>(context, methods, *window[i], tokens.all_tokens(), tokens.first_token());
    }
    CALIPRESS_RETURN_IF_ERROR(stream->Run(
        [&](size_t i, const at::Tensor& hidden) {
          const bool model_ends = window[i]->index() + 1 == context.spec().blocks;
          if (!solvers[i]) {
            TimedActivity timed(context.activities, Activity::kForward);
            return model_ends ? at::Tensor() : window[i]->Forward(hidden, stream->rotary());
          }
          const BlockInterior interior = AddBlockStatistics(context, *window[i], hidden, stream->rotary(), *solvers[i]);
          TimedActivity timed(context.activities, Activity::kForward);
          return model_ends ? at::Tensor() : window[i]->AddMlp(interior.hidden, interior.activation);
        },
        [&](double share) { Report(context, done + 0.6 * size * share, name); }));
    for (size_t i = 0; i < window.size(); ++i) {
      if (!solvers[i]) continue;
      Report(context, done + 0.6 * size + 0.4 * static_cast<double>(i),
             "block " + std::to_string(window[i]->index()) + ": solving");
      CALIPRESS_RETURN_IF_ERROR(solvers[i]->Transform());
      for (int input = 0; input < BlockSolver::kInputs; ++input) {
        CALIPRESS_RETURN_IF_ERROR(solvers[i]->Solve(input));
      }
      if (context.Writes(window[i]->index())) {
        CALIPRESS_RETURN_IF_ERROR(writer.Write(solvers[i]->TakeResult()));
      }
      solvers[i].reset();
      window[i].reset();
    }
    done += size;
  }
  CALIPRESS_RETURN_IF_ERROR(stream->Finish());
  return writer.Finish();
}

}  // namespace calipress::engine
