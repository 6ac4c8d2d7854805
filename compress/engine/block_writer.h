#pragma once

#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "compress/engine/block_file.h"
#include "compress/engine/context.h"

namespace calipress::engine {

// Packs and writes finished blocks beside the compute on the next one. At most one block is under way.
class BlockWriter {
 public:
  explicit BlockWriter(StageContext& context) : context_(context) {}
  ~BlockWriter();

  // Takes the block over; waits for the one before and returns its failure, if any.
  absl::Status Write(CompressedBlock block);
  // Waits for the last one.
  absl::Status Finish();

 private:
  StageContext& context_;
  absl::Status status_;
  std::jthread thread_;
};

}  // namespace calipress::engine
