#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/collective/group.h"
#include "compress/engine/activities.h"

namespace calipress::engine {

// A micro-batch.
struct BatchShape {
  int64_t rows = 0;
  int64_t length = 0;  // tokens of each
};

// Shapes of the micro-batches of [sequences, length]: all of `rows` sequences but perhaps the last.
struct MicroBatches {
  int64_t sequences = 0;
  int64_t length = 0;
  int64_t rows = 1;
  int64_t count() const { return sequences == 0 ? 0 : (sequences + rows - 1) / rows; }
  int64_t first(int64_t index) const { return index * rows; }
  int64_t size(int64_t index) const { return std::min(rows, sequences - index * rows); }
  std::vector<BatchShape> shapes() const;
};

// Hidden states of one model: `features` columns of `options` (dtype, device) per token.
struct HiddenLane {
  int64_t features = 0;
  at::TensorOptions options;
};

// Hidden states from the previous stage, in the order in which it puts them: every micro-batch, and of each every lane
// (models that run side by side). Posted one micro-batch ahead, so that its transfer runs beside the compute on the one
// before. Not thread-safe.
class HiddenReceiver {
 public:
  HiddenReceiver(collective::Group& group, ActivityLedger& activities, std::vector<BatchShape> batches,
                 std::vector<HiddenLane> lanes);
  // The next lane of the micro-batch, or the first of the next one: [rows, length, features].
  absl::StatusOr<at::Tensor> Next();

 private:
  absl::Status Post();

  collective::Group& group_;
  ActivityLedger& activities_;
  std::vector<BatchShape> batches_;
  std::vector<HiddenLane> lanes_;
  int64_t posted_ = 0;
  std::deque<std::pair<at::Tensor, std::unique_ptr<collective::Transfer>>> pending_;
};

// Hidden states to the next stage. At most a few are under way: a slow receiver stops the sender, not its memory.
class HiddenSender {
 public:
  HiddenSender(collective::Group& group, ActivityLedger& activities) : group_(group), activities_(activities) {}
  absl::Status Put(at::Tensor hidden);
  // Zeros for all micro-batches of one lane that have not been put yet: what a stage owes the next one when it gives
  // up.
  absl::Status PutRest(const MicroBatches& batches, const HiddenLane& lane);
  // Waits for all.
  absl::Status Drain();

 private:
  absl::Status WaitOldest();

  static constexpr size_t kUnderWay = 4;
  collective::Group& group_;
  ActivityLedger& activities_;
  int64_t put_ = 0;
  std::deque<std::unique_ptr<collective::Transfer>> pending_;
};

}  // namespace calipress::engine
