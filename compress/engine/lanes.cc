#include "compress/engine/lanes.h"

#include <algorithm>
#include <map>
#include <utility>

#include "compress/base/status_macros.h"
#include "compress/engine/block_file.h"
#include "compress/model/weights.h"

namespace calipress::engine {
namespace {

// Keeps blocks that were loaded while they fit the budget; loads the others each time.
class BlockShelf : public BlockSource {
 public:
  using Load = std::function<absl::StatusOr<model::Block>(int64_t index)>;

  BlockShelf(StageContext& context, int64_t budget, Load load)
      : context_(context), budget_(budget), load_(std::move(load)) {}

  absl::StatusOr<std::shared_ptr<const model::Block>> Get(int64_t index) override {
    if (auto found = kept_.find(index); found != kept_.end()) return found->second;
    TimedActivity timed(context_.activities, Activity::kRead);
    CALIPRESS_ASSIGN_OR_RETURN(model::Block loaded, load_(index));
    auto block = std::make_shared<const model::Block>(std::move(loaded));
    if (block->Bytes() <= budget_) {
      budget_ -= block->Bytes();
      kept_[index] = block;
    }
    return block;
  }

  bool in_memory() const override {
    return static_cast<int64_t>(kept_.size()) >= context_.assignment.end_block() - context_.assignment.first_block();
  }

 private:
  StageContext& context_;
  int64_t budget_;
  const Load load_;
  std::map<int64_t, std::shared_ptr<const model::Block>> kept_;
};

class Pass {
 public:
  Pass(StageContext& context, std::vector<Lane>& lanes, const LanePass& pass)
      : context_(context),
        lanes_(lanes),
        pass_(pass),
        receiver_(context.environment.group, context.activities, pass.batches, Streams(lanes, context.device)),
        sender_(context.environment.group, context.activities) {}

  absl::Status Run() {
    const auto count = static_cast<int64_t>(pass_.batches.size());
    for (int64_t batch = 0; batch < count;) {
      const int64_t chunk = ChunkSize(batch);
      std::vector<std::vector<at::Tensor>> hidden(chunk);
      for (int64_t i = 0; i < chunk; ++i) {
        CALIPRESS_ASSIGN_OR_RETURN(hidden[i], Enter(batch + i));
      }
      for (size_t lane = 0; lane < lanes_.size(); ++lane) {
        CALIPRESS_RETURN_IF_ERROR(Forward(batch, lane, &hidden));
      }
      for (int64_t i = 0; i < chunk; ++i) {
        CALIPRESS_RETURN_IF_ERROR(Leave(batch + i, std::move(hidden[i])));
      }
      batch += chunk;
      pass_.progress(static_cast<double>(batch) / static_cast<double>(count));
    }
    return sender_.Drain();
  }

 private:
  static std::vector<HiddenLane> Streams(const std::vector<Lane>& lanes, at::Device device) {
    std::vector<HiddenLane> streams;
    for (const Lane& lane : lanes) {
      const arch::ArchSpec& spec = lane.model->spec;
      streams.push_back({spec.hidden, at::TensorOptions().dtype(model::ToScalarType(spec.dtype)).device(device)});
    }
    return streams;
  }

  // Micro-batches that go through the stage together: few where all blocks stay in memory (they stream), as many as
  // the budget holds where each pass has to load the blocks again.
  int64_t ChunkSize(int64_t first) const {
    if (std::all_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) { return lane.blocks->in_memory(); })) return 1;
    int64_t left = context_.environment.memory_budget / 4;
    const auto count = static_cast<int64_t>(pass_.batches.size());
    int64_t chunk = 0;
    while (first + chunk < count) {
      const BatchShape& batch = pass_.batches[first + chunk];
      for (const Lane& lane : lanes_) {
        left -= batch.rows * batch.length * lane.model->spec.hidden * DtypeBytes(lane.model->spec.dtype);
      }
      if (left < 0) break;
      ++chunk;
    }
    return std::max<int64_t>(1, chunk);
  }

  absl::StatusOr<std::vector<at::Tensor>> Enter(int64_t batch) {
    std::vector<at::Tensor> hidden(lanes_.size());
    if (!context_.first()) {
      for (at::Tensor& states : hidden) {
        CALIPRESS_ASSIGN_OR_RETURN(states, receiver_.Next());
      }
      return hidden;
    }
    TimedActivity timed(context_.activities, Activity::kForward);
    const at::Tensor ids = pass_.ids(batch);
    for (size_t lane = 0; lane < lanes_.size(); ++lane) hidden[lane] = lanes_[lane].embedding->Forward(ids);
    return hidden;
  }

  // Frequencies may depend on the length, so that tables of several lengths are not parts of one.
  const model::RotaryTable& Rotary(size_t lane, int64_t length) {
    auto [found, missing] = rotary_.try_emplace({lane, length});
    if (missing) found->second = model::MakeRotaryTable(lanes_[lane].model->spec, length, context_.device);
    return found->second;
  }

  absl::Status Forward(int64_t first, size_t lane, std::vector<std::vector<at::Tensor>>* hidden) {
    for (int64_t index = context_.assignment.first_block(); index < context_.assignment.end_block(); ++index) {
      CALIPRESS_ASSIGN_OR_RETURN(auto block, lanes_[lane].blocks->Get(index));
      TimedActivity timed(context_.activities, Activity::kForward);
      for (size_t i = 0; i < hidden->size(); ++i) {
        CALIPRESS_RETURN_IF_ERROR(context_.cancellation.status());
        at::Tensor& states = (*hidden)[i][lane];
        states = block->Forward(states, Rotary(lane, pass_.batches[first + i].length));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Leave(int64_t batch, std::vector<at::Tensor> hidden) {
    if (context_.last()) {
      TimedActivity timed(context_.activities, Activity::kForward);
      return pass_.take(batch, hidden);
    }
    for (at::Tensor& states : hidden) CALIPRESS_RETURN_IF_ERROR(sender_.Put(std::move(states)));
    return absl::OkStatus();
  }

  StageContext& context_;
  std::vector<Lane>& lanes_;
  const LanePass& pass_;
  HiddenReceiver receiver_;
  HiddenSender sender_;
  std::map<std::pair<size_t, int64_t>, model::RotaryTable> rotary_;
};

}  // namespace

std::unique_ptr<BlockSource> SourceBlocks(StageContext& context, const OpenModel& model, int64_t budget) {
  return std::make_unique<BlockShelf>(context, budget, [&model](int64_t index) {
    return model::Block::Load(model.spec, index, *model.weights, /*quantize_inputs=*/true);
  });
}

std::unique_ptr<BlockSource> StagedBlocks(StageContext& context, int64_t budget) {
  return std::make_unique<BlockShelf>(context, budget, [&context](int64_t index) -> absl::StatusOr<model::Block> {
    const worker::v1::FinishedBlock* finished = context.Finished(index);
    const std::string uri = finished != nullptr
                                ? finished->uri()
                                : storage::JoinUri(context.assignment.staging_uri(), BlockFileName(index));
    CALIPRESS_ASSIGN_OR_RETURN(
        StagedBlock staged, StagedBlock::Open(context.store(), *context.model, context.recipe(), uri, context.device));
    return model::Block::Load(context.spec(), index, staged.weights(), /*quantize_inputs=*/true);
  });
}

absl::StatusOr<Lane> MakeLane(StageContext& context, const OpenModel& model, std::unique_ptr<BlockSource> blocks) {
  TimedActivity timed(context.activities, Activity::kRead);
  Lane lane;
  lane.model = &model;
  lane.blocks = std::move(blocks);
  if (context.first()) {
    CALIPRESS_ASSIGN_OR_RETURN(lane.embedding, model::Embedding::Load(model.spec, *model.weights));
  }
  if (context.last()) {
    CALIPRESS_ASSIGN_OR_RETURN(lane.head, model::Head::Load(model.spec, *model.weights));
  }
  return lane;
}

absl::Status RunLanes(StageContext& context, std::vector<Lane>& lanes, const LanePass& pass) {
  return Pass(context, lanes, pass).Run();
}

}  // namespace calipress::engine
