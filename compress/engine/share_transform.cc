#include "compress/engine/share_transform.h"

#include <utility>
#include <vector>

#include <ATen/ops/empty.h>

#include "compress/arch/arch.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/group.h"
#include "compress/engine/byte_buffer.h"

namespace calipress::engine {
namespace {

// The leader's, in place. All ranks have the same shape and dtype.
absl::Status Broadcast(collective::Group& group, at::Tensor& tensor) {
  if (!tensor.defined()) return absl::OkStatus();
  tensor = tensor.contiguous();
  std::vector<at::Tensor> parts(group.size(), at::empty({0}, tensor.options()));
  parts[0] = tensor;
  return group.AllGather(std::move(parts));
}

std::array<at::Tensor*, 7> TensorsOf(method::InputStatistics& input) {
  return {&input.second_moment, &input.square_sum,   &input.absolute_sum, &input.absolute_max,
          &input.sum,           &input.variance_sum, &input.sample};
}

}  // namespace

absl::Status ShareTransformed(StageContext& context, std::array<method::InputStatistics, 4>& statistics,
                              model::Block& block, std::map<std::string, at::Tensor>* changed) {
  TimedActivity timed(context.activities, Activity::kTransfer);
  collective::Group& group = context.environment.group;
  ByteWriter writer;
  if (context.leader()) {
    writer.Put<int64_t>(static_cast<int64_t>(changed->size()));
    for (const auto& [name, tensor] : *changed) {
      writer.PutString(name);
      writer.PutTensor(tensor);
    }
    // A transform may drop what nobody wants after it.
    for (method::InputStatistics& input : statistics) {
      for (const at::Tensor* tensor : TensorsOf(input)) writer.Put(tensor->defined());
    }
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto gathered, GatherBytes(group, writer.bytes(), context.device));
  ByteReader reader(gathered.front(), context.device);
  std::map<std::string, at::Tensor> told;
  for (int64_t left = reader.Take<int64_t>(); left > 0 && reader.ok(); --left) {
    const std::string name = reader.TakeString();
    told[name] = reader.TakeTensor();
  }
  for (method::InputStatistics& input : statistics) {
    for (at::Tensor* tensor : TensorsOf(input)) {
      if (!reader.Take<bool>()) *tensor = at::Tensor();
      CALIPRESS_RETURN_IF_ERROR(Broadcast(group, *tensor));
    }
  }
  if (context.leader()) return absl::OkStatus();
  if (!reader.ok()) return DefectError("rank 0 sent a transformed block that cannot be read");
  *changed = std::move(told);
  for (const auto& tensor : arch::BlockTensors(context.spec(), block.index())) {
    const auto found = changed->find(tensor.name);
    if (found == changed->end()) continue;
    if (tensor.name.ends_with(".bias")) {
      block.ReplaceBias(tensor.role, found->second);
    } else {
      block.ReplaceWeight(tensor.role, found->second);
    }
  }
  return absl::OkStatus();
}

}  // namespace calipress::engine
