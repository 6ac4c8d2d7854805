#include "compress/engine/generate.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/sampler.h"
#include "compress/collective/group.h"
#include "compress/engine/byte_buffer.h"
#include "compress/engine/generation_slots.h"
#include "compress/engine/sample_share.h"
#include "compress/engine/stage_blocks.h"
#include "compress/model/decode.h"
#include "compress/tensor/parallel_items.h"

namespace calipress::engine {
namespace {

using calibration::GenerationRequest;
using model::kDecodeRows;

int64_t BlockBytes(const arch::ArchSpec& spec, int64_t block) {
  int64_t elements = 0;
  for (const arch::TensorSpec& tensor : arch::BlockTensors(spec, block)) {
    int64_t size = 1;
    for (const int64_t extent : tensor.shape) size *= extent;
    elements += size;
  }
  return elements * DtypeBytes(spec.dtype);
}

int64_t Blocks(const StageContext& context) {
  return context.assignment.end_block() - context.assignment.first_block();
}

// Groups that the smallest of the ranks' budgets holds beside the blocks; all ranks get the same answer, or error.
absl::StatusOr<int64_t> GroupsThatFit(StageContext& context, int64_t tokens) {
  int64_t blocks = 0;
  for (int64_t block = context.assignment.first_block(); block < context.assignment.end_block(); ++block) {
    blocks += BlockBytes(context.spec(), block);
  }
  const int64_t group = std::max<int64_t>(1, Blocks(context) * model::BlockDecoder::CacheBytes(context.spec(), tokens));
  const int64_t room = context.environment.memory_budget - blocks;
  const at::Tensor least = at::tensor({-(room < 0 ? 0 : room / group)}, at::kLong).to(context.device);
  CALIPRESS_RETURN_IF_ERROR(context.environment.group.AllReduceMax(least));
  const int64_t fit = -least.cpu().item<int64_t>();
  if (fit > 0) return fit;
  return MakeError(
      absl::StatusCode::kResourceExhausted, reason::kInsufficientMemory, ErrorClass::kUser,
      absl::StrCat("the model cannot write calibration text: worker ", context.rank(), " has ",
                   context.environment.memory_budget, " bytes for it, and its ", Blocks(context), " blocks have ",
                   blocks, ", the keys and values of ", kDecodeRows, " texts of ", tokens, " tokens ", group,
                   " (at least one worker has too little). Give more memory or more workers (sharding: "
                   "layers), lower calibration.sequence_length, or calibrate on text"));
}

// Groups under way together, of `all`. Stages: one more than there are, so that a transfer is under way while every
// stage computes, or as many as come out even. All in one place: as many as a step takes for each thread, one for each
// thread, or where there are fewer, one step that all threads work on.
int64_t GroupsAtOnce(const StageContext& context, int64_t all, int64_t fit) {
  const int64_t room = std::max<int64_t>(1, std::min(all, fit));
  if (context.first() && context.last()) {
    const int64_t threads = at::get_num_threads();
    if (room >= threads * model::kMostDecodeGroups) return threads * model::kMostDecodeGroups;
    return room >= threads ? threads : std::min(room, model::kMostDecodeGroups);
  }
  const int64_t most = std::min<int64_t>(context.world_size() + 1, room);
  const int64_t rounds = (all + most - 1) / most;
  return std::max<int64_t>(1, (all + rounds - 1) / rounds);
}

class StageGeneration {
 public:
  StageGeneration(StageContext& context, const GenerationRequest& request, SampleShare share, int64_t groups)
      : context_(context),
        request_(request),
        group_(context.environment.group),
        piped_(context.world_size() > 1 && !context.replicas()),
        groups_(groups),
        slots_(request, share.first, share.count, groups, kDecodeRows),
        sampler_(request, context.spec().vocabulary),
        log_likelihoods_(share.count, 0.0),
        written_(groups),
        arriving_(groups) {}

  absl::Status Load();
  absl::Status Run(const std::function<void(int64_t)>& progress);
  // Rank 0 (replicas: each): what was written.
  absl::StatusOr<std::vector<calibration::ScoredSequence>> Result();
  const GenerationSlots& slots() const { return slots_; }

 private:
  // The tokens that the last rank wrote for a group, on their way down the stages.
  absl::Status TakeWritten(int64_t group);
  absl::StatusOr<at::Tensor> TakeHidden(int64_t group);
  absl::Status PassOn(int64_t group, const at::Tensor& hidden);
  absl::StatusOr<at::Tensor> Receive(at::Tensor buffer, int from);
  absl::Status Send(at::Tensor tensor, int to);
  absl::Status Sample(std::span<const int64_t> groups, const at::Tensor& hidden);
  at::Tensor Embed(std::span<const int64_t> groups);
  at::Tensor Forward(std::span<const int64_t> groups, at::Tensor hidden);
  // All of the model is here. Threads that each take groups of their own meet once per token, rather than several times
  // per block.
  absl::Status RunAtOnce(const std::function<void(int64_t)>& progress);

  StageContext& context_;
  const GenerationRequest& request_;
  collective::Group& group_;
  const bool piped_;
  const int64_t groups_;
  GenerationSlots slots_;
  calibration::Sampler sampler_;
  std::vector<double> log_likelihoods_;  // by sequence, negative; on the last rank
  std::vector<std::vector<int64_t>> written_;
  // Posted before the last rank can have anything to send: a rank that waits for its sends to end waits for no one who
  // waits for it.
  std::vector<std::pair<at::Tensor, std::unique_ptr<collective::Transfer>>> arriving_;
  std::deque<std::unique_ptr<collective::Transfer>> sends_;
  std::vector<std::unique_ptr<model::BlockDecoder>> blocks_;
  std::optional<model::Embedding> embedding_;
  std::optional<model::Head> head_;
  model::RotaryTable rotary_;
};

absl::Status StageGeneration::Load() {
  TimedActivity timed(context_.activities, Activity::kRead);
  rotary_ = model::MakeRotaryTable(context_.spec(), request_.tokens, context_.device);
  if (context_.first()) {
    CALIPRESS_ASSIGN_OR_RETURN(embedding_, model::Embedding::Load(context_.spec(), *context_.model->weights));
  }
  for (int64_t index = context_.assignment.first_block(); index < context_.assignment.end_block(); ++index) {
    CALIPRESS_RETURN_IF_ERROR(context_.cancellation.status());
    CALIPRESS_ASSIGN_OR_RETURN(model::Block block,
                               model::Block::Load(context_.spec(), index, *context_.model->weights));
    blocks_.push_back(
        std::make_unique<model::BlockDecoder>(context_.spec(), std::move(block), groups_, request_.tokens));
  }
  if (context_.last()) {
    CALIPRESS_ASSIGN_OR_RETURN(head_, model::Head::Load(context_.spec(), *context_.model->weights));
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> StageGeneration::Receive(at::Tensor buffer, int from) {
  TimedActivity timed(context_.activities, Activity::kTransfer);
  CALIPRESS_ASSIGN_OR_RETURN(auto transfer, group_.Receive(buffer, from));
  CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
  return buffer;
}

absl::Status StageGeneration::Send(at::Tensor tensor, int to) {
  const size_t most = 4 * static_cast<size_t>(groups_);
  while (sends_.size() >= most) {
    TimedActivity timed(context_.activities, Activity::kTransfer);
    CALIPRESS_RETURN_IF_ERROR(sends_.front()->Wait());
    sends_.pop_front();
  }
  CALIPRESS_ASSIGN_OR_RETURN(sends_.emplace_back(), group_.Send(std::move(tensor), to));
  return absl::OkStatus();
}

absl::Status StageGeneration::TakeWritten(int64_t group) {
  if (!piped_) return absl::OkStatus();
  at::Tensor tokens;
  if (context_.leader()) {
    TimedActivity timed(context_.activities, Activity::kTransfer);
    CALIPRESS_RETURN_IF_ERROR(arriving_[group].second->Wait());
    tokens = std::move(arriving_[group].first);
  } else {
    const auto options = at::TensorOptions().dtype(at::kLong).device(context_.device);
    CALIPRESS_ASSIGN_OR_RETURN(tokens, Receive(at::empty({kDecodeRows}, options), context_.rank() - 1));
  }
  if (!context_.last()) CALIPRESS_RETURN_IF_ERROR(Send(tokens, context_.rank() + 1));
  const at::Tensor local = tokens.cpu();
  const int64_t* ids = local.const_data_ptr<int64_t>();
  written_[group].assign(ids, ids + kDecodeRows);
  return absl::OkStatus();
}

at::Tensor StageGeneration::Embed(std::span<const int64_t> groups) {
  std::vector<int64_t> tokens;
  for (const int64_t group : groups) {
    const std::vector<int64_t> ids = slots_.Tokens(group);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }
  return embedding_->Forward(at::tensor(tokens, at::kLong)).contiguous();
}

absl::StatusOr<at::Tensor> StageGeneration::TakeHidden(int64_t group) {
  if (embedding_) {
    TimedActivity timed(context_.activities, Activity::kForward);
    return Embed({&group, 1});
  }
  return Receive(at::empty({kDecodeRows, context_.spec().hidden}, HiddenOptions(context_)), context_.rank() - 1);
}

absl::Status StageGeneration::Sample(std::span<const int64_t> groups, const at::Tensor& hidden) {
  const at::Tensor logits = head_->Step(hidden).to(at::kCPU, at::kFloat).contiguous();
  const float* rows = logits.const_data_ptr<float>();
  const auto vocabulary = static_cast<size_t>(logits.size(1));
  for (const int64_t group : groups) written_[group].assign(kDecodeRows, 0);
  std::atomic<bool> finite = true;
  tensor::ForEachItem(logits.size(0), [&](int64_t item) {
    const int64_t group = groups[item / kDecodeRows], row = item % kDecodeRows;
    const GenerationSlots::Next next = slots_.NextOf(group, row);
    if (next.sequence < 0) return;
    thread_local calibration::Sampler::Workspace workspace;
    const std::span<const float> scores(rows + item * static_cast<int64_t>(vocabulary), vocabulary);
    int64_t id = next.known;
    if (id < 0) {
      id = sampler_.Pick(scores, next.text, next.written, slots_.Draw(group, row), &workspace);
      written_[group][row] = id;
    }
    if (id >= 0) log_likelihoods_[next.sequence] += calibration::NegativeLogLikelihood(scores, id, &workspace);
    if (id < 0 || !std::isfinite(log_likelihoods_[next.sequence])) finite = false;
  });
  if (finite) return absl::OkStatus();
  return PreconditionError(reason::kNonFiniteActivations,
                           "the model's logits are NaN or infinite where it writes calibration text");
}

absl::Status StageGeneration::PassOn(int64_t group, const at::Tensor& hidden) {
  if (context_.last()) {
    {
      TimedActivity timed(context_.activities, Activity::kForward);
      CALIPRESS_RETURN_IF_ERROR(Sample({&group, 1}, hidden));
    }
    if (!piped_) return absl::OkStatus();
    return Send(at::tensor(written_[group], at::kLong).to(context_.device), 0);
  }
  if (context_.leader()) {
    at::Tensor& tokens = arriving_[group].first;
    tokens = at::empty({kDecodeRows}, at::TensorOptions().dtype(at::kLong).device(context_.device));
    CALIPRESS_ASSIGN_OR_RETURN(arriving_[group].second, group_.Receive(tokens, group_.size() - 1));
  }
  return Send(hidden.contiguous(), context_.rank() + 1);
}

at::Tensor StageGeneration::Forward(std::span<const int64_t> groups, at::Tensor hidden) {
  std::vector<int64_t> at;
  for (const int64_t group : groups) {
    const std::vector<int64_t> positions = slots_.Positions(group);
    at.insert(at.end(), positions.begin(), positions.end());
  }
  const model::DecodePositions positions = model::MakeDecodePositions(std::move(at), rotary_);
  for (const auto& block : blocks_) hidden = block->Step(groups, hidden, positions);
  return hidden;
}

absl::Status StageGeneration::RunAtOnce(const std::function<void(int64_t)>& progress) {
  const c10::NoGradGuard no_grad;
  for (;;) {
    std::vector<int64_t> active;
    for (int64_t group = 0; group < groups_; ++group) {
      if (slots_.Active(group)) active.push_back(group);
    }
    if (active.empty()) return absl::OkStatus();
    CALIPRESS_RETURN_IF_ERROR(context_.cancellation.status());
    // Even shares, one for each thread; where there are fewer groups all threads work on one share after the other.
    const auto count = static_cast<int64_t>(active.size());
    const int64_t threads = at::get_num_threads();
    const bool shared = count < threads;
    const int64_t size = shared ? std::min(count, model::kMostDecodeGroups) : (count + threads - 1) / threads;
    std::vector<absl::Status> statuses((count + size - 1) / size);
    const auto step = [&](int64_t share) {
      const auto groups = std::span<const int64_t>(active).subspan(share * size, std::min(size, count - share * size));
      statuses[share] = Sample(groups, Forward(groups, Embed(groups)));
    };
    {
      TimedActivity timed(context_.activities, Activity::kForward);
      const auto shares = static_cast<int64_t>(statuses.size());
      if (shared) {
        for (int64_t share = 0; share < shares; ++share) step(share);
      } else {
        tensor::ForEachItem(shares, step);
      }
    }
    for (const absl::Status& status : statuses) CALIPRESS_RETURN_IF_ERROR(status);
    for (const int64_t group : active) slots_.Advance(group, written_[group]);
    progress(slots_.written());
  }
}

absl::Status StageGeneration::Run(const std::function<void(int64_t)>& progress) {
  if (!piped_ && groups_ > 1) return RunAtOnce(progress);
  std::vector<bool> open(groups_, true);
  bool any = true;
  for (bool first = true; any; first = false) {
    any = false;
    for (int64_t group = 0; group < groups_; ++group) {
      if (!open[group]) continue;
      CALIPRESS_RETURN_IF_ERROR(context_.cancellation.status());
      if (!first) {
        CALIPRESS_RETURN_IF_ERROR(TakeWritten(group));
        slots_.Advance(group, written_[group]);
      }
      open[group] = slots_.Active(group);
      if (!open[group]) continue;
      any = true;
      CALIPRESS_ASSIGN_OR_RETURN(at::Tensor hidden, TakeHidden(group));
      {
        TimedActivity timed(context_.activities, Activity::kForward);
        hidden = Forward({&group, 1}, std::move(hidden));
      }
      CALIPRESS_RETURN_IF_ERROR(PassOn(group, hidden));
    }
    progress(slots_.written());
  }
  for (auto& send : sends_) CALIPRESS_RETURN_IF_ERROR(send->Wait());
  sends_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<calibration::ScoredSequence>> StageGeneration::Result() {
  const auto count = static_cast<int64_t>(log_likelihoods_.size());
  if (piped_ && count > 0) {
    const auto options = at::TensorOptions().dtype(at::kDouble).device(context_.device);
    if (context_.last()) {
      CALIPRESS_RETURN_IF_ERROR(Send(at::tensor(log_likelihoods_, at::kDouble).to(context_.device), 0));
      CALIPRESS_RETURN_IF_ERROR(sends_.back()->Wait());
    }
    if (context_.leader()) {
      CALIPRESS_ASSIGN_OR_RETURN(at::Tensor sums, Receive(at::empty({count}, options), group_.size() - 1));
      sums = sums.cpu();
      const double* values = sums.const_data_ptr<double>();
      log_likelihoods_.assign(values, values + count);
    }
  }
  std::vector<calibration::ScoredSequence> sequences(count);
  for (int64_t i = 0; i < count; ++i) {
    sequences[i] = {slots_.sequences()[i], log_likelihoods_[i], slots_.predicted()[i]};
  }
  return sequences;
}

// What every replica wrote, in the order of the sequences; on all ranks.
absl::Status Gather(StageContext& context, Generated* generated) {
  ByteWriter writer;
  writer.Put(generated->written);
  for (const calibration::ScoredSequence& sequence : generated->sequences) {
    writer.PutTensor(at::tensor(sequence.ids, at::kLong));
    writer.Put(sequence.negative_log_likelihood);
    writer.Put(sequence.predicted);
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto gathered,
                             GatherBytes(context.environment.group, writer.bytes(), context.device));
  *generated = {};
  for (const std::string& bytes : gathered) {
    ByteReader reader(bytes, at::kCPU);
    generated->written += reader.Take<int64_t>();
    while (reader.ok() && !reader.AtEnd()) {
      calibration::ScoredSequence sequence;
      const at::Tensor ids = reader.TakeTensor();
      if (!ids.defined()) return DefectError("a replica's sequences cannot be read");
      sequence.ids.assign(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel());
      sequence.negative_log_likelihood = reader.Take<double>();
      sequence.predicted = reader.Take<int64_t>();
      generated->sequences.push_back(std::move(sequence));
    }
    if (!reader.ok()) return DefectError("a replica's sequences cannot be read");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Generated> GenerateOnStages(StageContext& context, const GenerationRequest& request,
                                           const std::function<void(int64_t, int64_t)>& progress) {
  const at::NoGradGuard no_grad;
  const SampleShare share = context.replicas() ? ShareOf(request.sequences, context.rank(), context.world_size())
                                               : SampleShare{0, request.sequences};
  CALIPRESS_ASSIGN_OR_RETURN(const int64_t fit, GroupsThatFit(context, request.tokens));
  const int64_t all = (share.count + kDecodeRows - 1) / kDecodeRows;
  StageGeneration stage(context, request, share, GroupsAtOnce(context, all, fit));
  CALIPRESS_RETURN_IF_ERROR(stage.Load());
  int64_t most = 0;
  for (int64_t i = share.first; i < share.first + share.count; ++i) {
    most += request.tokens - static_cast<int64_t>(request.prompts[i].size());
  }
  CALIPRESS_RETURN_IF_ERROR(stage.Run([&](int64_t written) { progress(written, most); }));
  Generated generated;
  CALIPRESS_ASSIGN_OR_RETURN(generated.sequences, stage.Result());
  generated.written = stage.slots().written();
  if (context.replicas()) CALIPRESS_RETURN_IF_ERROR(Gather(context, &generated));
  return generated;
}

}  // namespace calipress::engine
