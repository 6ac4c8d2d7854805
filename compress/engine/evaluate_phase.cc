#include "compress/engine/evaluate_phase.h"

#include <cmath>
#include <optional>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/block_file.h"
#include "compress/engine/hidden_stream.h"
#include "compress/engine/stage_blocks.h"
#include "compress/engine/tokens.h"
#include "compress/evaluate/divergence.h"
#include "compress/model/weights.h"

namespace calipress::engine {
namespace {

// Logits of a chunk of positions, in the model's dtype, for each model.
constexpr int64_t kLogitBytes = 32 << 20;

// One of the models that are run side by side.
class Lane {
 public:
  // `staged`: blocks come from the staged files of this job. `model` outlives the lane.
  Lane(StageContext& context, const OpenModel& model, bool staged)
      : context_(context), model_(model), staged_(staged) {}

  const arch::ArchSpec& spec() const { return model_.spec; }
  at::TensorOptions options() const {
    return at::TensorOptions().dtype(model::ToScalarType(model_.spec.dtype)).device(context_.device);
  }

  absl::StatusOr<model::Block> LoadBlock(int64_t index) const {
    TimedActivity timed(context_.activities, Activity::kRead);
    if (!staged_) return model::Block::Load(model_.spec, index, *model_.weights, /*quantize_inputs=*/true);
    const worker::v1::FinishedBlock* finished = context_.Finished(index);
    const std::string uri = finished != nullptr
                                ? finished->uri()
                                : storage::JoinUri(context_.assignment.staging_uri(), BlockFileName(index));
    CALIPRESS_ASSIGN_OR_RETURN(StagedBlock staged,
                               StagedBlock::Open(context_.store(), model_, context_.recipe(), uri, context_.device));
    return model::Block::Load(model_.spec, index, staged.weights(), /*quantize_inputs=*/true);
  }
  absl::StatusOr<model::Embedding> LoadEmbedding() const { return model::Embedding::Load(spec(), *model_.weights); }
  absl::StatusOr<model::Head> LoadHead() const { return model::Head::Load(spec(), *model_.weights); }

 private:
  StageContext& context_;
  const OpenModel& model_;
  bool staged_;
};

// Keeps blocks that were loaded while they fit the budget; loads the others each time.
class BlockShelf {
 public:
  BlockShelf(const Lane& lane, int64_t budget) : lane_(lane), budget_(budget) {}

  absl::StatusOr<std::shared_ptr<const model::Block>> Get(int64_t index) {
    if (auto found = kept_.find(index); found != kept_.end()) return found->second;
    CALIPRESS_ASSIGN_OR_RETURN(model::Block loaded, lane_.LoadBlock(index));
    auto block = std::make_shared<const model::Block>(std::move(loaded));
    if (block->Bytes() <= budget_) {
      budget_ -= block->Bytes();
      kept_[index] = block;
    }
    return block;
  }
  bool KeepsAll(int64_t blocks) const { return static_cast<int64_t>(kept_.size()) >= blocks; }

 private:
  const Lane& lane_;
  int64_t budget_;
  std::map<int64_t, std::shared_ptr<const model::Block>> kept_;
};

// Of the windows of every replica.
absl::Status SumScores(collective::Group& group, at::Device device, evaluate::TextScore* score) {
  const at::Tensor sums =
      at::tensor({score->negative_log_likelihood, score->reference_negative_log_likelihood, score->kl, score->js},
                 at::kDouble)
          .to(device);
  const at::Tensor counts = at::tensor({score->tokens, score->agree}, at::kLong).to(device);
  CALIPRESS_RETURN_IF_ERROR(group.AllReduceSum(sums));
  CALIPRESS_RETURN_IF_ERROR(group.AllReduceSum(counts));
  const at::Tensor total = sums.cpu(), counted = counts.cpu();
  const double* values = total.const_data_ptr<double>();
  *score = {counted[0].item<int64_t>(), values[0], values[1], values[2], values[3], counted[1].item<int64_t>()};
  return absl::OkStatus();
}

class TextEvaluation {
 public:
  TextEvaluation(StageContext& context, std::vector<Lane>& lanes, std::vector<BlockShelf>& shelves,
                 const v1::Perplexity& text)
      : context_(context), lanes_(lanes), shelves_(shelves), text_(text) {}

  absl::Status Run(double begin, double share);

 private:
  absl::Status Setup();
  absl::Status Forward(std::vector<std::vector<at::Tensor>>& hidden);
  absl::Status Score(int64_t batch, const std::vector<at::Tensor>& hidden);
  // Micro-batches that go through the stage together: few where all blocks stay in memory (they stream), as many as
  // the budget holds where each pass has to load the blocks again.
  int64_t ChunkSize() const;

  StageContext& context_;
  std::vector<Lane>& lanes_;
  std::vector<BlockShelf>& shelves_;
  const v1::Perplexity& text_;
  SharedTokens tokens_;
  std::vector<model::Embedding> embeddings_;
  std::vector<model::Head> heads_;
  std::vector<model::RotaryTable> rotary_;
  evaluate::TextScore score_;
};

absl::Status TextEvaluation::Setup() {
  CALIPRESS_ASSIGN_OR_RETURN(tokens_, ShareEvaluationTokens(context_, text_));
  for (const Lane& lane : lanes_) {
    rotary_.push_back(model::MakeRotaryTable(lane.spec(), tokens_.batches.length, context_.device));
    if (context_.first()) {
      CALIPRESS_ASSIGN_OR_RETURN(model::Embedding embedding, lane.LoadEmbedding());
      embeddings_.push_back(std::move(embedding));
    }
    if (context_.last()) {
      CALIPRESS_ASSIGN_OR_RETURN(model::Head head, lane.LoadHead());
      heads_.push_back(std::move(head));
    }
  }
  return absl::OkStatus();
}

int64_t TextEvaluation::ChunkSize() const {
  const int64_t blocks = context_.assignment.end_block() - context_.assignment.first_block();
  bool all_kept = true;
  for (const BlockShelf& shelf : shelves_) all_kept = all_kept && shelf.KeepsAll(blocks);
  if (all_kept) return 1;
  int64_t bytes = 0;
  for (const Lane& lane : lanes_) {
    bytes += tokens_.batches.rows * tokens_.batches.length * lane.spec().hidden * DtypeBytes(lane.spec().dtype);
  }
  return std::max<int64_t>(1, context_.environment.memory_budget / 4 / std::max<int64_t>(1, bytes));
}

absl::Status TextEvaluation::Forward(std::vector<std::vector<at::Tensor>>& hidden) {
  for (size_t lane = 0; lane < lanes_.size(); ++lane) {
    for (int64_t index = context_.assignment.first_block(); index < context_.assignment.end_block(); ++index) {
      CALIPRESS_ASSIGN_OR_RETURN(auto block, shelves_[lane].Get(index));
      TimedActivity timed(context_.activities, Activity::kForward);
      for (auto& batch : hidden) {
        CALIPRESS_RETURN_IF_ERROR(context_.cancellation.status());
        batch[lane] = block->Forward(batch[lane], rotary_[lane]);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status TextEvaluation::Score(int64_t batch, const std::vector<at::Tensor>& hidden) {
  TimedActivity timed(context_.activities, Activity::kForward);
  const at::Tensor ids = tokens_.ids.narrow(0, tokens_.batches.first(batch), tokens_.batches.size(batch));
  const int64_t length = ids.size(1);
  const int64_t per_position = ids.size(0) * context_.spec().vocabulary * 4;
  // Neighbouring chunks share a position: the last of one predicts the first token of the next.
  const int64_t step = std::max<int64_t>(1, kLogitBytes / std::max<int64_t>(1, per_position));
  for (int64_t begin = 0; begin + 1 < length; begin += step) {
    const int64_t size = std::min(step + 1, length - begin);
    const at::Tensor test = heads_[0].Forward(hidden[0].narrow(1, begin, size));
    const at::Tensor reference = heads_.size() > 1 ? heads_[1].Forward(hidden[1].narrow(1, begin, size)) : at::Tensor();
    evaluate::ScoreLogits(test, reference, ids.narrow(1, begin, size), &score_);
  }
  return absl::OkStatus();
}

absl::Status TextEvaluation::Run(double begin, double share) {
  CALIPRESS_RETURN_IF_ERROR(Setup());
  std::vector<HiddenLane> streams;
  for (const Lane& lane : lanes_) streams.push_back({lane.spec().hidden, lane.options()});
  HiddenReceiver receiver(context_.environment.group, context_.activities, tokens_.batches, streams);
  HiddenSender sender(context_.environment.group, context_.activities);
  const int64_t count = tokens_.batches.count();
  for (int64_t batch = 0; batch < count;) {
    const int64_t chunk = std::min(ChunkSize(), count - batch);
    std::vector<std::vector<at::Tensor>> hidden(chunk, std::vector<at::Tensor>(lanes_.size()));
    for (int64_t i = 0; i < chunk; ++i) {
      for (size_t lane = 0; lane < lanes_.size(); ++lane) {
        if (context_.first()) {
          TimedActivity timed(context_.activities, Activity::kForward);
          hidden[i][lane] = embeddings_[lane].Forward(
              tokens_.ids.narrow(0, tokens_.batches.first(batch + i), tokens_.batches.size(batch + i)));
        } else {
          CALIPRESS_ASSIGN_OR_RETURN(hidden[i][lane], receiver.Next());
        }
      }
    }
    CALIPRESS_RETURN_IF_ERROR(Forward(hidden));
    for (int64_t i = 0; i < chunk; ++i) {
      if (context_.last()) {
        CALIPRESS_RETURN_IF_ERROR(Score(batch + i, hidden[i]));
        continue;
      }
      for (size_t lane = 0; lane < lanes_.size(); ++lane) {
        CALIPRESS_RETURN_IF_ERROR(sender.Put(std::move(hidden[i][lane])));
      }
    }
    batch += chunk;
    context_.observer.OnProgress(kEvaluatePhase, begin + share * batch / count, text_.name());
  }
  CALIPRESS_RETURN_IF_ERROR(sender.Drain());
  if (context_.replicas()) CALIPRESS_RETURN_IF_ERROR(SumScores(context_.environment.group, context_.device, &score_));
  const bool tells = context_.replicas() ? context_.leader() : context_.last();
  if (!tells) return absl::OkStatus();

  if (!std::isfinite(score_.negative_log_likelihood)) {
    return PreconditionError(reason::kNonFiniteActivations,
                             "text " + text_.name() + ": the model's logits are NaN or infinite");
  }
  auto* result = context_.outcome.add_evaluations();
  result->set_name(text_.name());
  result->set_sequence_length(static_cast<int32_t>(tokens_.batches.length));
  result->set_windows(tokens_.all_sequences);
  result->set_tokens(score_.tokens);
  result->set_perplexity(score_.Perplexity());
  if (lanes_.size() > 1) {
    const double tokens = static_cast<double>(std::max<int64_t>(1, score_.tokens));
    result->set_perplexity_original(score_.ReferencePerplexity());
    if (context_.recipe().evaluation().divergence()) {
      result->set_kl_divergence(score_.kl / tokens);
      result->set_js_divergence(score_.js / tokens);
      result->set_top1_agreement(score_.agree / tokens);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Evaluate(StageContext& context) {
  at::NoGradGuard no_grad;
  const auto& evaluation = context.recipe().evaluation();
  const bool compressed = context.recipe().steps_size() > 0;
  std::unique_ptr<OpenModel> reference;
  if (!compressed && !evaluation.reference().empty()) {
    CALIPRESS_ASSIGN_OR_RETURN(reference,
                               Open(context.store(), evaluation.reference(), context.device, context.recipe()));
    if (reference->spec.vocabulary != context.spec().vocabulary || reference->spec.blocks != context.spec().blocks) {
      return UserError(reason::kUnsupportedCombination,
                       "evaluation.reference has another vocabulary size or number of blocks than the model: compare a "
                       "model with its own original");
    }
  }
  std::vector<Lane> lanes;
  lanes.emplace_back(context, *context.model, compressed);
  if (compressed) lanes.emplace_back(context, *context.model, /*staged=*/false);
  if (reference) lanes.emplace_back(context, *reference, /*staged=*/false);
  std::vector<BlockShelf> shelves;
  shelves.reserve(lanes.size());
  for (const Lane& lane : lanes) {
    shelves.emplace_back(lane, context.environment.memory_budget / 2 / static_cast<int64_t>(lanes.size()));
  }
  const double share = 1.0 / std::max(1, evaluation.perplexity_size());
  for (int i = 0; i < evaluation.perplexity_size(); ++i) {
    CALIPRESS_RETURN_IF_ERROR(TextEvaluation(context, lanes, shelves, evaluation.perplexity(i)).Run(i * share, share));
  }
  return absl::OkStatus();
}

}  // namespace calipress::engine
