#include "compress/engine/task_share.h"

#include <algorithm>
#include <numeric>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/group.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

// Examples as numbers: both counts, then three for each question and for each continuation, which its ids follow.
std::vector<int64_t> Pack(const tasks::Examples& examples) {
  std::vector<int64_t> packed = {static_cast<int64_t>(examples.questions.size()),
                                 static_cast<int64_t>(examples.continuations.size())};
  for (const tasks::Question& question : examples.questions) {
    packed.insert(packed.end(), {question.first, question.choices, question.answer});
  }
  for (const tasks::Continuation& continuation : examples.continuations) {
    packed.insert(packed.end(),
                  {static_cast<int64_t>(continuation.ids.size()), continuation.scored, continuation.bytes});
    packed.insert(packed.end(), continuation.ids.begin(), continuation.ids.end());
  }
  return packed;
}

// From rank 0 of the same program.
tasks::Examples Unpack(const int64_t* packed) {
  tasks::Examples examples;
  examples.questions.resize(*packed++);
  examples.continuations.resize(*packed++);
  for (tasks::Question& question : examples.questions) {
    question = {packed[0], packed[1], packed[2]};
    packed += 3;
  }
  for (tasks::Continuation& continuation : examples.continuations) {
    const int64_t size = packed[0];
    continuation.scored = packed[1];
    continuation.bytes = packed[2];
    packed += 3;
    continuation.ids.assign(packed, packed + size);
    packed += size;
  }
  return examples;
}

int64_t SeenLength(const tasks::Continuation& continuation) {
  return static_cast<int64_t>(continuation.ids.size()) - 1;
}

}  // namespace

absl::StatusOr<tasks::Examples> ShareExamples(StageContext& context,
                                              const std::function<absl::StatusOr<tasks::Examples>()>& read) {
  auto& group = context.environment.group;
  if (context.leader()) {
    CALIPRESS_ASSIGN_OR_RETURN(tasks::Examples examples, read());
    if (group.size() == 1) return examples;
    std::vector<int64_t> packed = Pack(examples);
    const auto size = static_cast<int64_t>(packed.size());
    const at::Tensor header = at::tensor({size}, at::kLong).to(context.device);
    const at::Tensor body = at::from_blob(packed.data(), {size}, at::kLong).clone().to(context.device);
    std::vector<std::unique_ptr<collective::Transfer>> transfers;
    for (int to = 1; to < group.size(); ++to) {
      CALIPRESS_ASSIGN_OR_RETURN(transfers.emplace_back(), group.Send(header, to));
      CALIPRESS_ASSIGN_OR_RETURN(transfers.emplace_back(), group.Send(body, to));
    }
    for (auto& transfer : transfers) CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
    return examples;
  }
  const auto options = at::TensorOptions().dtype(at::kLong).device(context.device);
  const auto receive = [&](const at::Tensor& tensor) -> absl::StatusOr<at::Tensor> {
    CALIPRESS_ASSIGN_OR_RETURN(auto transfer, group.Receive(tensor, 0));
    CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
    return tensor.cpu();
  };
  CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor header, receive(at::empty({1}, options)));
  CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor body, receive(at::empty({header.item<int64_t>()}, options)));
  return Unpack(body.const_data_ptr<int64_t>());
}

std::vector<TaskBatch> BatchContinuations(const tasks::Examples& examples) {
  std::vector<int64_t> order(examples.continuations.size());
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](int64_t index) { return SeenLength(examples.continuations[index]); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  std::vector<TaskBatch> batches;
  for (size_t begin = 0; begin < order.size();) {
    TaskBatch batch;
    batch.shape.length = length(order[begin]);
    const size_t end = std::min<size_t>(order.size(), begin + recipe::DefaultMicroBatch(batch.shape.length));
    batch.continuations.assign(order.begin() + begin, order.begin() + end);
    batch.shape.rows = static_cast<int64_t>(end - begin);
    batches.push_back(std::move(batch));
    begin = end;
  }
  return batches;
}

at::Tensor SeenIds(const tasks::Examples& examples, const TaskBatch& batch, at::Device device) {
  at::Tensor ids = at::zeros({batch.shape.rows, batch.shape.length}, at::kLong);
  int64_t* row = ids.mutable_data_ptr<int64_t>();
  for (const int64_t index : batch.continuations) {
    const tasks::Continuation& continuation = examples.continuations[index];
    std::copy(continuation.ids.begin(), continuation.ids.end() - 1, row);
    row += batch.shape.length;
  }
  return ids.to(device);
}

ScoredTokens ScoredIn(const tasks::Examples& examples, const TaskBatch& batch, at::Device device) {
  std::vector<int64_t> positions;
  std::vector<int64_t> targets;
  int64_t row = 0;
  for (const int64_t index : batch.continuations) {
    const tasks::Continuation& continuation = examples.continuations[index];
    const auto size = static_cast<int64_t>(continuation.ids.size());
    for (int64_t i = size - continuation.scored; i < size; ++i) {
      positions.push_back(row * batch.shape.length + i - 1);
      targets.push_back(continuation.ids[i]);
    }
    ++row;
  }
  return {at::tensor(positions, at::kLong).to(device), at::tensor(targets, at::kLong).to(device)};
}

}  // namespace calipress::engine
