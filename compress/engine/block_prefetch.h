#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <thread>

#include "absl/status/statusor.h"
#include "compress/model/block.h"

namespace calipress::engine {

// Loads the blocks of [begin, end) in order, each while its predecessor is worked on. At most one block waits. Used
// from one thread.
class BlockPrefetch {
 public:
  using Load = std::function<absl::StatusOr<model::Block>(int64_t)>;
  BlockPrefetch(int64_t begin, int64_t end, Load load);
  ~BlockPrefetch();

  // The next block.
  absl::StatusOr<model::Block> Next();

 private:
  void Start();

  int64_t next_;
  int64_t end_;
  Load load_;
  std::optional<absl::StatusOr<model::Block>> loaded_;
  std::jthread thread_;
};

}  // namespace calipress::engine
