#include "compress/collective/buffered_group.h"

#include "compress/base/status_macros.h"

namespace calipress::collective {
namespace {

// The group keeps the tensor: nobody else has to wait.
class Handed : public Transfer {
 public:
  absl::Status Wait() override { return absl::OkStatus(); }
};

}  // namespace

absl::Status BufferedGroup::WaitOldest() {
  auto [bytes, transfer] = std::move(under_way_.front());
  under_way_.pop_front();
  bytes_ -= bytes;
  return transfer->Wait();
}

absl::StatusOr<std::unique_ptr<Transfer>> BufferedGroup::Send(at::Tensor tensor, int to) {
  const int64_t bytes = static_cast<int64_t>(tensor.nbytes());
  while (!under_way_.empty() && bytes_ + bytes > limit_) CALIPRESS_RETURN_IF_ERROR(WaitOldest());
  CALIPRESS_ASSIGN_OR_RETURN(auto transfer, group_.Send(std::move(tensor), to));
  under_way_.emplace_back(bytes, std::move(transfer));
  bytes_ += bytes;
  return std::unique_ptr<Transfer>(std::make_unique<Handed>());
}

absl::Status BufferedGroup::Flush() {
  while (!under_way_.empty()) CALIPRESS_RETURN_IF_ERROR(WaitOldest());
  return absl::OkStatus();
}

}  // namespace calipress::collective
