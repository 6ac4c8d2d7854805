#include "compress/calibration/draw_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace calipress::calibration {

std::string DrawText(const SourceRequest& request) {
  if (!request.drawn) return "";
  return absl::StrCat(" in draw ", request.draw, " (from 0) of ", request.draws);
}

DrawOrder::DrawOrder(int64_t documents, const SourceRequest& request)
    : left_(documents), skip_(request.draws - 1), first_(request.draw), random_(request.seed, 0) {
  std::iota(left_.begin(), left_.end(), int64_t{0});
  for (size_t i = 0; i < first_; ++i) Step();
}

int64_t DrawOrder::size() const {
  const size_t after = left_.size() > first_ ? left_.size() - first_ : 0;
  return static_cast<int64_t>((after + skip_) / (skip_ + 1));
}

void DrawOrder::Step() {
  if (empty()) return;
  std::swap(left_[next_], left_[next_ + random_.Below(left_.size() - next_)]);
  ++next_;
}

int64_t DrawOrder::Next() {
  const size_t place = next_;
  Step();
  for (size_t i = 0; i < skip_; ++i) Step();
  return left_[place];
}

}  // namespace calipress::calibration
