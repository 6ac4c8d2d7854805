#include "compress/engine/assemble_phase.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/copy_tensor.h"
#include "compress/checkpoint/shard_plan.h"
#include "compress/engine/block_file.h"
#include "compress/engine/imatrix.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

std::string BlockUri(const StageContext& context, int64_t block) {
  const worker::v1::FinishedBlock* finished = context.Finished(block);
  return finished != nullptr ? finished->uri()
                             : storage::JoinUri(context.assignment.staging_uri(), BlockFileName(block));
}

// The checkpoint's tensors of a staged block as its header has them, in file order.
absl::StatusOr<std::vector<checkpoint::TensorPlan>> StagedTensors(StageContext& context, int64_t block) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto reader,
                             checkpoint::ModelReader::OpenFile(context.store(), BlockUri(context, block)));
  std::vector<checkpoint::TensorInfo> tensors = reader->tensors();
  // Tensors of no bytes share an offset with the next one: by name then, which every rank does alike.
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  std::vector<checkpoint::TensorPlan> plan;
  for (const auto& tensor : tensors) {
    if (!IsSquareSum(tensor.name)) plan.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  return plan;
}

absl::Status CopyTensor(const checkpoint::ModelReader& reader, const checkpoint::PlannedTensor& planned,
                        checkpoint::SafetensorsWriter& writer) {
  const checkpoint::TensorPlan& tensor = planned.tensor;
  const checkpoint::TensorInfo* info = reader.Find(tensor.name);
  // The source's may be converted; those of a block are as they will be.
  const bool fits =
      info != nullptr && info->shape == tensor.shape && (planned.block < 0 || info->dtype == tensor.dtype);
  if (!fits) return DefectError("a staged block or the source does not hold " + tensor.name + " as planned");
  return checkpoint::CopyTensor(reader, *info, tensor.dtype, writer).status();
}

absl::Status WriteShard(StageContext& context, const checkpoint::PlannedShard& shard) {
  std::vector<checkpoint::TensorPlan> plan;
  auto* written = context.outcome.add_shards();
  for (const auto& planned : shard.tensors) {
    plan.push_back(planned.tensor);
    written->add_tensors(planned.tensor.name);
    written->set_tensor_bytes(written->tensor_bytes() + checkpoint::TensorBytes(planned.tensor));
  }
  const std::string uri = storage::JoinUri(context.assignment.staging_uri(), shard.file);
  CALIPRESS_ASSIGN_OR_RETURN(auto writer, checkpoint::SafetensorsWriter::Create(context.store(), uri, std::move(plan)));
  std::unique_ptr<checkpoint::ModelReader> block_reader;
  int64_t open_block = -1;
  for (const auto& planned : shard.tensors) {
    CALIPRESS_RETURN_IF_ERROR(context.cancellation.status());
    if (planned.block >= 0 && planned.block != open_block) {
      CALIPRESS_ASSIGN_OR_RETURN(block_reader,
                                 checkpoint::ModelReader::OpenFile(context.store(), BlockUri(context, planned.block)));
      open_block = planned.block;
    }
    CALIPRESS_RETURN_IF_ERROR(
        CopyTensor(planned.block >= 0 ? *block_reader : *context.model->reader, planned, *writer));
  }
  CALIPRESS_RETURN_IF_ERROR(writer->Close());
  written->set_file(shard.file);
  written->set_uri(uri);
  written->set_bytes(writer->file_bytes());
  written->set_sha256(writer->sha256());
  return absl::OkStatus();
}

}  // namespace

absl::Status AssembleShards(StageContext& context) {
  std::vector<std::vector<checkpoint::TensorPlan>> blocks;
  for (int64_t block = 0; block < context.spec().blocks; ++block) {
    CALIPRESS_RETURN_IF_ERROR(context.cancellation.status());
    CALIPRESS_ASSIGN_OR_RETURN(blocks.emplace_back(), StagedTensors(context, block));
  }
  const v1::Output& output = context.recipe().output();
  const auto shards =
      checkpoint::PlanShards(context.spec(), *context.model->reader, blocks,
                             output.has_max_shard_bytes() ? output.max_shard_bytes() : checkpoint::kDefaultShardBytes,
                             [&](Dtype dtype) { return recipe::StoredDtype(context.recipe(), dtype); });
  for (size_t i = context.rank(); i < shards.size(); i += context.world_size()) {
    context.observer.OnProgress(kAssemblePhase, static_cast<double>(i) / shards.size(), shards[i].file);
    TimedActivity timed(context.activities, Activity::kWrite);
    CALIPRESS_RETURN_IF_ERROR(WriteShard(context, shards[i]));
  }
  if (!context.leader() || !context.recipe().output().imatrix()) return absl::OkStatus();
  TimedActivity timed(context.activities, Activity::kWrite);
  std::vector<std::string> uris;
  for (int64_t block = 0; block < context.spec().blocks; ++block) uris.push_back(BlockUri(context, block));
  return WriteImatrix(context, uris);
}

}  // namespace calipress::engine
