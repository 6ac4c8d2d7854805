#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/engine/context.h"
#include "compress/engine/hidden_stream.h"
#include "compress/tasks/examples.h"

namespace calipress::engine {

// What `read` (called on rank 0) gives, on every rank: ids are small beside hidden states.
absl::StatusOr<tasks::Examples> ShareExamples(StageContext& context,
                                              const std::function<absl::StatusOr<tasks::Examples>()>& read);

// Continuations that go through the model together, by index. What one sees is padded on the right to the longest one's
// length: no position looks to its right.
struct TaskBatch {
  BatchShape shape;
  std::vector<int64_t> continuations;
};

// All continuations, long ones first (those of one length in their order), in batches of about as many tokens as any
// other micro-batch: the same on all ranks.
std::vector<TaskBatch> BatchContinuations(const tasks::Examples& examples);

// What the model sees: int64 [rows, length].
at::Tensor SeenIds(const tasks::Examples& examples, const TaskBatch& batch, at::Device device);

// The scored tokens of a batch: where in [rows * length] the hidden state is that predicts each, and the token; those
// of one continuation after another, in the batch's order.
struct ScoredTokens {
  at::Tensor positions;  // int64 [tokens]
  at::Tensor targets;    // int64 [tokens]
};
ScoredTokens ScoredIn(const tasks::Examples& examples, const TaskBatch& batch, at::Device device);

}  // namespace calipress::engine
