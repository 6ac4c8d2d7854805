#include "compress/engine/score.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/group.h"
#include "compress/engine/block_stream.h"
#include "compress/engine/sample_share.h"
#include "compress/engine/stage_blocks.h"
#include "compress/engine/tokens.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

// fp32 logits of a chunk of positions.
constexpr int64_t kLogitBytes = 32 << 20;

// Sequences of about one length that go through the model together: indices into the list, shortest first.
struct Chunk {
  std::vector<int64_t> sequences;
  int64_t length = 0;  // of the longest
};

std::vector<Chunk> MakeChunks(const std::vector<std::vector<int64_t>>& sequences, int64_t most_tokens) {
  std::vector<int64_t> order(sequences.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto length = [&](int64_t index) { return static_cast<int64_t>(sequences[index].size()); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) < length(b); });
  std::vector<Chunk> chunks;
  for (const int64_t index : order) {
    // Padding at most doubles the work, but of what is short anyway.
    const bool fits = !chunks.empty() &&
                      length(index) <= std::max<int64_t>(64, 2 * length(chunks.back().sequences[0])) &&
                      length(index) * static_cast<int64_t>(chunks.back().sequences.size() + 1) <= most_tokens;
    if (!fits) chunks.emplace_back();
    chunks.back().sequences.push_back(index);
    chunks.back().length = length(index);
  }
  return chunks;
}

// Scores one chunk: the sums of its sequences, float64 [sequences], zero for what another rank scores.
class ChunkScore {
 public:
  ChunkScore(StageContext& context, const std::vector<std::vector<int64_t>>& sequences, const Chunk& chunk)
      : context_(context) {
    const auto count = static_cast<int64_t>(chunk.sequences.size());
    at::Tensor ids = at::zeros({count, chunk.length}, at::kLong);
    lengths_ = at::zeros({count}, at::kLong);
    for (int64_t i = 0; i < count; ++i) {
      const std::vector<int64_t>& sequence = sequences[chunk.sequences[i]];
      std::copy(sequence.begin(), sequence.end(), ids.mutable_data_ptr<int64_t>() + i * chunk.length);
      lengths_.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(sequence.size());
    }
    tokens_.batches = {count, chunk.length, recipe::DefaultMicroBatch(chunk.length)};
    tokens_.all_sequences = count;
    if (context.replicas()) {
      const SampleShare share = ShareOf(tokens_.batches.count(), context.rank(), context.world_size());
      const int64_t first = std::min(count, share.first * tokens_.batches.rows);
      const int64_t end = std::min(count, (share.first + share.count) * tokens_.batches.rows);
      tokens_.first_sequence = first;
      tokens_.batches.sequences = end - first;
      ids = ids.narrow(0, first, end - first);
    }
    tokens_.ids = ids.to(context.device);
    sums_ = at::zeros({count}, at::TensorOptions().dtype(at::kDouble).device(context.device));
  }

  absl::StatusOr<at::Tensor> Run() {
    if (context_.last()) {
      TimedActivity timed(context_.activities, Activity::kRead);
      CALIPRESS_ASSIGN_OR_RETURN(head_, model::Head::Load(context_.spec(), *context_.model->weights));
    }
    CALIPRESS_ASSIGN_OR_RETURN(const auto stream, BlockStream::Create(context_, tokens_, [&](int64_t block) {
                                 return LinearBytes(context_.spec(), block);
                               }));
    int64_t block = context_.assignment.first_block();
    for (;;) {
      CALIPRESS_ASSIGN_OR_RETURN(const auto window, stream->NextWindow());
      if (window.empty()) break;
      const bool ends = block + static_cast<int64_t>(window.size()) == context_.assignment.end_block();
      int64_t batch = 0;
      CALIPRESS_RETURN_IF_ERROR(stream->Run(
          [&](size_t i, const at::Tensor& hidden) {
            TimedActivity timed(context_.activities, Activity::kForward);
            at::Tensor out = window[i]->Forward(hidden, stream->rotary());
            if (head_ && ends && i + 1 == window.size()) Score(batch++, out);
            return out;
          },
          [](double) {}));
      block += static_cast<int64_t>(window.size());
    }
    CALIPRESS_RETURN_IF_ERROR(stream->Finish());
    return sums_;
  }

 private:
  void Score(int64_t batch, const at::Tensor& hidden) {
    const int64_t first = tokens_.batches.first(batch), rows = tokens_.batches.size(batch);
    const at::Tensor ids = tokens_.ids.narrow(0, first, rows);
    const int64_t length = ids.size(1);
    const at::Tensor sums = sums_.narrow(0, tokens_.first_sequence + first, rows);
    const at::Tensor lengths = lengths_.narrow(0, tokens_.first_sequence + first, rows).to(context_.device);
    const at::Tensor places = at::arange(1, length, ids.options());
    const int64_t step = std::max<int64_t>(1, kLogitBytes / (rows * context_.spec().vocabulary * 4));
    for (int64_t begin = 0; begin + 1 < length; begin += step) {
      const int64_t size = std::min(step, length - 1 - begin);
      const at::Tensor logits = head_->Forward(hidden.narrow(1, begin, size)).to(at::kFloat);
      const at::Tensor targets = ids.narrow(1, begin + 1, size).unsqueeze(2);
      const at::Tensor losses = at::logsumexp(logits, -1) - logits.gather(2, targets).squeeze(2);
      const at::Tensor padding = places.narrow(0, begin, size).unsqueeze(0) >= lengths.unsqueeze(1);
      sums.add_(losses.to(at::kDouble).masked_fill_(padding, 0.0).sum(1));
    }
  }

  StageContext& context_;
  SharedTokens tokens_;
  at::Tensor lengths_;  // int64 [sequences], of all
  at::Tensor sums_;
  std::optional<model::Head> head_;
};

}  // namespace

absl::StatusOr<std::vector<calibration::ScoredSequence>> ScoreOnStages(
    StageContext& context, std::vector<std::vector<int64_t>> sequences,
    const std::function<void(int64_t, int64_t)>& progress) {
  const at::NoGradGuard no_grad;
  int64_t all = 0, done = 0;
  for (const auto& sequence : sequences) all += static_cast<int64_t>(sequence.size());
  const int64_t token_bytes = context.spec().hidden * DtypeBytes(context.spec().dtype);
  std::vector<calibration::ScoredSequence> scored(sequences.size());
  // The same chunks on all ranks, whatever their budgets.
  constexpr int64_t kChunkBytes = 512 << 20;
  for (const Chunk& chunk : MakeChunks(sequences, kChunkBytes / token_bytes)) {
    CALIPRESS_RETURN_IF_ERROR(context.cancellation.status());
    CALIPRESS_ASSIGN_OR_RETURN(at::Tensor sums, ChunkScore(context, sequences, chunk).Run());
    // Each rank has a zero where another has the score.
    CALIPRESS_RETURN_IF_ERROR(context.environment.group.AllReduceSum(sums));
    sums = sums.cpu();
    for (size_t i = 0; i < chunk.sequences.size(); ++i) {
      calibration::ScoredSequence& one = scored[chunk.sequences[i]];
      one.negative_log_likelihood = sums.const_data_ptr<double>()[i];
      if (!std::isfinite(one.negative_log_likelihood)) {
        return PreconditionError(reason::kNonFiniteActivations,
                                 "the model's logits are NaN or infinite where it scores calibration text");
      }
      one.ids = std::move(sequences[chunk.sequences[i]]);
      one.predicted = static_cast<int64_t>(one.ids.size()) - 1;
      done += static_cast<int64_t>(one.ids.size());
    }
    progress(done, all);
  }
  return scored;
}

}  // namespace calipress::engine
