#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/engine/context.h"
#include "compress/engine/hidden_stream.h"
#include "compress/model/block.h"

namespace calipress::engine {

// Where a lane's blocks come from. Used by one thread at a time.
class BlockSource {
 public:
  virtual ~BlockSource() = default;
  virtual absl::StatusOr<std::shared_ptr<const model::Block>> Get(int64_t index) = 0;
  // Whether Get makes nothing: there is no reason to take many micro-batches through a block while it is there.
  virtual bool in_memory() const = 0;
};

// The blocks of a model folder, of which those that were read stay while they fit `budget` bytes. `context` and `model`
// outlive it.
std::unique_ptr<BlockSource> SourceBlocks(StageContext& context, const OpenModel& model, int64_t budget);
// The same of what this job's compression has left in its staging folders.
std::unique_ptr<BlockSource> StagedBlocks(StageContext& context, int64_t budget);

// One of the models that run side by side through the stages: what this stage has of it.
struct Lane {
  const OpenModel* model = nullptr;
  std::unique_ptr<BlockSource> blocks;
  std::optional<model::Embedding> embedding;  // where hidden states enter
  std::optional<model::Head> head;            // and where they leave
};
absl::StatusOr<Lane> MakeLane(StageContext& context, const OpenModel& model, std::unique_ptr<BlockSource> blocks);

// A pass of micro-batches through all lanes. Every rank names the same batches (replicas: its own), in the same order.
struct LanePass {
  std::vector<BatchShape> batches;
  // int64 [rows, length] on the stage's device; asked for where hidden states enter.
  std::function<at::Tensor(int64_t batch)> ids;
  // What leaves the last block, [rows, length, features] of each lane; called where hidden states leave.
  std::function<absl::Status(int64_t batch, const std::vector<at::Tensor>& hidden)> take;
  // Hears the share that is done, 0 to 1.
  std::function<void(double fraction)> progress;
};
absl::Status RunLanes(StageContext& context, std::vector<Lane>& lanes, const LanePass& pass);

}  // namespace calipress::engine
