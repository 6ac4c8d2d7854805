#include "compress/engine/hidden_stream.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "compress/base/status_macros.h"

namespace calipress::engine {

std::vector<BatchShape> MicroBatches::shapes() const {
  std::vector<BatchShape> shapes(count());
  for (int64_t i = 0; i < count(); ++i) shapes[i] = {size(i), length};
  return shapes;
}

HiddenReceiver::HiddenReceiver(collective::Group& group, ActivityLedger& activities, std::vector<BatchShape> batches,
                               std::vector<HiddenLane> lanes)
    : group_(group), activities_(activities), batches_(std::move(batches)), lanes_(std::move(lanes)) {}

absl::Status HiddenReceiver::Post() {
  const int64_t lanes = static_cast<int64_t>(lanes_.size());
  const HiddenLane& lane = lanes_[posted_ % lanes];
  const BatchShape& batch = batches_[posted_ / lanes];
  at::Tensor buffer = at::empty({batch.rows, batch.length, lane.features}, lane.options);
  CALIPRESS_ASSIGN_OR_RETURN(auto transfer, group_.Receive(buffer, group_.rank() - 1));
  pending_.emplace_back(std::move(buffer), std::move(transfer));
  ++posted_;
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> HiddenReceiver::Next() {
  const int64_t lanes = static_cast<int64_t>(lanes_.size());
  while (posted_ < static_cast<int64_t>(batches_.size()) * lanes && pending_.size() < 2 * lanes_.size()) {
    CALIPRESS_RETURN_IF_ERROR(Post());
  }
  if (pending_.empty()) return absl::InternalError("more micro-batches were asked for than there are");
  auto [buffer, transfer] = std::move(pending_.front());
  pending_.pop_front();
  TimedActivity timed(activities_, Activity::kTransfer);
  CALIPRESS_RETURN_IF_ERROR(transfer->Wait());
  return buffer;
}

absl::Status HiddenSender::WaitOldest() {
  TimedActivity timed(activities_, Activity::kTransfer);
  auto transfer = std::move(pending_.front());
  pending_.pop_front();
  return transfer->Wait();
}

absl::Status HiddenSender::Put(at::Tensor hidden) {
  while (pending_.size() >= kUnderWay) CALIPRESS_RETURN_IF_ERROR(WaitOldest());
  if (!hidden.is_contiguous()) hidden = hidden.contiguous();
  CALIPRESS_ASSIGN_OR_RETURN(auto transfer, group_.Send(std::move(hidden), group_.rank() + 1));
  pending_.push_back(std::move(transfer));
  ++put_;
  return absl::OkStatus();
}

absl::Status HiddenSender::PutRest(const MicroBatches& batches, const HiddenLane& lane) {
  while (put_ < batches.count()) {
    CALIPRESS_RETURN_IF_ERROR(Put(at::zeros({batches.size(put_), batches.length, lane.features}, lane.options)));
  }
  return Drain();
}

absl::Status HiddenSender::Drain() {
  while (!pending_.empty()) CALIPRESS_RETURN_IF_ERROR(WaitOldest());
  return absl::OkStatus();
}

}  // namespace calipress::engine
