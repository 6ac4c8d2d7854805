#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

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

// What one block needs while micro-batches stream through: its weights, and the second moments of its inputs in every
// domain.
int64_t StreamingBytes(const arch::ArchSpec& spec, int64_t block, int64_t domains) {
  int64_t bytes = 0;
  int last_input = -1;
  for (const auto& linear : arch::BlockLinears(spec, block)) {
    bytes += linear.in * linear.out * DtypeBytes(spec.dtype);
    if (linear.input == last_input) continue;
    bytes += domains * tensor::SecondMoment::Bytes(linear.in);
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
    BlockSolver solver(context, methods, block, /*tokens=*/nullptr);
    for (int input = 0; input < BlockSolver::kInputs; ++input) CALIPRESS_RETURN_IF_ERROR(solver.Solve(input));
    CALIPRESS_RETURN_IF_ERROR(writer.Write(solver.TakeResult()));
  }
  return writer.Finish();
}

namespace {

// One block of a window: what is gathered of its inputs, and a solver for every recipe, on a copy of the block each.
class StreamedBlock {
 public:
  StreamedBlock(std::vector<StreamedRecipe>& recipes, const model::Block& block) : recipes_(recipes) {
    const SharedTokens& tokens = recipes.front().tokens;
    for (StreamedRecipe& recipe : recipes) {
      // Null: an earlier attempt finished the block, or the recipe has failed.
      if (recipe.context.Finished(block.index()) != nullptr || !recipe.failure.ok()) {
        blocks_.emplace_back();
        solvers_.emplace_back();
        continue;
      }
      blocks_.push_back(std::make_unique<model::Block>(block));
      solvers_.push_back(
          std::make_unique<BlockSolver>(recipe.context, recipe.methods, *blocks_.back(), &recipe.tokens));
    }
    for (const bool moments : {false, true}) {
      for (int input = 0; input < BlockSolver::kInputs; ++input) {
        method::StatisticsNeeds needs;
        int64_t features = 0;
        for (const auto& solver : solvers_) {
          if (!solver || solver->needs(input).second_moment != moments) continue;
          needs.Merge(solver->needs(input));
          features = solver->features(input);
        }
        if (!needs.Any()) continue;
        gathered_[moments][input] = std::make_unique<DomainStatistics>(
            features, needs, tokens.mixing, tokens.position(), recipes.front().context.device);
      }
    }
  }

  bool wanted() const {
    return std::any_of(solvers_.begin(), solvers_.end(), [](const auto& solver) { return solver != nullptr; });
  }

  void Add(int input, const at::Tensor& activations) {
    for (auto& kind : gathered_) {
      if (!kind[input]) continue;
      TimedActivity timed(recipes_.front().context.activities, Activity::kStatistics);
      kind[input]->Add(activations);
    }
  }

  // For every recipe in turn. What remains is written; the block's statistics are gone afterwards.
  absl::Status Solve(std::vector<std::unique_ptr<BlockWriter>>& writers) {
    Statistics statistics;
    for (size_t kind = 0; kind < gathered_.size(); ++kind) {
      for (int input = 0; input < BlockSolver::kInputs; ++input) {
        if (gathered_[kind][input]) statistics[kind][input] = gathered_[kind][input]->Take();
        gathered_[kind][input].reset();
      }
    }
    for (size_t r = 0; r < recipes_.size(); ++r) {
      if (!solvers_[r]) continue;
      const absl::Status status = SolveOne(r, statistics, *writers[r]);
      solvers_[r].reset();
      blocks_[r].reset();
      if (status.ok()) continue;
      if (!EndsRunAlone(recipes_[r].context, status)) return status;
      recipes_[r].failure = status;
    }
    return absl::OkStatus();
  }

 private:
  // By kind and input.
  using Statistics = std::array<std::array<std::vector<method::InputStatistics>, BlockSolver::kInputs>, 2>;

  // Whether a later recipe takes the statistics of this input and kind.
  bool WantedAfter(size_t r, int input, bool moments) const {
    return std::any_of(solvers_.begin() + static_cast<int64_t>(r) + 1, solvers_.end(), [&](const auto& solver) {
      return solver && solver->needs(input).Any() && solver->needs(input).second_moment == moments;
    });
  }

  absl::Status SolveOne(size_t r, Statistics& statistics, BlockWriter& writer) {
    BlockSolver& solver = *solvers_[r];
    for (int input = 0; input < BlockSolver::kInputs; ++input) {
      if (!solver.needs(input).Any()) continue;
      const bool moments = solver.needs(input).second_moment;
      auto& gathered = statistics[moments][input];
      // Solvers may write into them: all but the last get copies.
      solver.Adopt(input, WantedAfter(r, input, moments) ? Copies(gathered) : std::move(gathered));
    }
    CALIPRESS_RETURN_IF_ERROR(solver.Transform());
    for (int input = 0; input < BlockSolver::kInputs; ++input) CALIPRESS_RETURN_IF_ERROR(solver.Solve(input));
    CompressedBlock result = solver.TakeResult();
    if (!recipes_[r].context.Writes(result.index)) return absl::OkStatus();
    CALIPRESS_RETURN_IF_ERROR(writer.Write(std::move(result)));
    // One block is under way at a time, not one for every recipe.
    return recipes_.size() > 1 ? writer.Finish() : absl::OkStatus();
  }

  std::vector<StreamedRecipe>& recipes_;
  std::vector<std::unique_ptr<model::Block>> blocks_;
  std::vector<std::unique_ptr<BlockSolver>> solvers_;
  // Of recipes that want square sums alone, and of those that want second moments, on whose diagonals they are: a run's
  // sums are then in one order whatever runs are beside it.
  std::array<std::array<std::unique_ptr<DomainStatistics>, BlockSolver::kInputs>, 2> gathered_;
};

}  // namespace

absl::Status CompressStreaming(std::vector<StreamedRecipe>& recipes) {
  at::NoGradGuard no_grad;
  StageContext& context = recipes.front().context;
  std::vector<std::unique_ptr<BlockWriter>> writers;
  writers.reserve(recipes.size());
  for (StreamedRecipe& recipe : recipes) writers.push_back(std::make_unique<BlockWriter>(recipe.context));
  const int64_t domains = recipes.front().tokens.mixing.domains();
  CALIPRESS_ASSIGN_OR_RETURN(auto stream,
                             BlockStream::Create(context, recipes.front().tokens, [&context, domains](int64_t block) {
                               return StreamingBytes(context.spec(), block, domains);
                             }));
  double done = 0;
  for (;;) {
    CALIPRESS_ASSIGN_OR_RETURN(auto window, stream->NextWindow());
    if (window.empty()) break;
    const double size = static_cast<double>(window.size());
    const std::string name = "blocks " + std::to_string(window.front()->index()) + ".." +
                             std::to_string(window.back()->index()) + ": statistics";
    std::vector<std::unique_ptr<StreamedBlock>> blocks;
    blocks.reserve(window.size());
    for (const auto& block : window) blocks.push_back(std::make_unique<StreamedBlock>(recipes, *block));
    CALIPRESS_RETURN_IF_ERROR(stream->Run(
        [&](size_t i, const at::Tensor& hidden) {
          const bool model_ends = window[i]->index() + 1 == context.spec().blocks;
          if (!blocks[i]->wanted()) {
            TimedActivity timed(context.activities, Activity::kForward);
            return model_ends ? at::Tensor() : window[i]->Forward(hidden, stream->rotary());
          }
          const BlockInterior interior =
              VisitBlockInputs(context, *window[i], hidden, stream->rotary(),
                               [&](int input, const at::Tensor& x) { blocks[i]->Add(input, x); });
          TimedActivity timed(context.activities, Activity::kForward);
          return model_ends ? at::Tensor() : window[i]->AddMlp(interior.hidden, interior.activation);
        },
        [&](double share) { Report(context, done + 0.6 * size * share, name); }));
    for (size_t i = 0; i < window.size(); ++i) {
      CALIPRESS_RETURN_IF_ERROR(context.cancellation.status());
      if (blocks[i]->wanted()) {
        Report(context, done + 0.6 * size + 0.4 * static_cast<double>(i),
               "block " + std::to_string(window[i]->index()) + ": solving");
      }
      CALIPRESS_RETURN_IF_ERROR(blocks[i]->Solve(writers));
      blocks[i].reset();
      window[i].reset();
    }
    done += size;
  }
  CALIPRESS_RETURN_IF_ERROR(stream->Finish());
  for (const auto& writer : writers) CALIPRESS_RETURN_IF_ERROR(writer->Finish());
  return absl::OkStatus();
}

}  // namespace calipress::engine
