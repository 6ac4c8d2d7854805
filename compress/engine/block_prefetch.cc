#include "compress/engine/block_prefetch.h"

#include "compress/base/thread.h"
#include "compress/tensor/guard.h"

namespace calipress::engine {

BlockPrefetch::BlockPrefetch(int64_t begin, int64_t end, Load load) : next_(begin), end_(end), load_(std::move(load)) {
  if (next_ < end_) Start();
}

BlockPrefetch::~BlockPrefetch() {
  if (thread_.joinable()) thread_.join();
}

void BlockPrefetch::Start() {
  loaded_.reset();
  thread_ = StartThread("prefetch", [this, index = next_] {
    const absl::Status status = tensor::Guard("loading a block", [&] {
      loaded_ = load_(index);
      return absl::OkStatus();
    });
    if (!status.ok()) loaded_ = status;
  });
}

absl::StatusOr<model::Block> BlockPrefetch::Next() {
  if (next_ >= end_) return absl::InternalError("more blocks were asked for than there are");
  thread_.join();
  absl::StatusOr<model::Block> block = std::move(*loaded_);
  ++next_;
  if (block.ok() && next_ < end_) Start();
  return block;
}

}  // namespace calipress::engine
