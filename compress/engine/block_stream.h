#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/engine/block_prefetch.h"
#include "compress/engine/context.h"
#include "compress/engine/hidden_stream.h"
#include "compress/engine/stage_blocks.h"
#include "compress/engine/tokens.h"

namespace calipress::engine {

// The calibration set on its way through this stage's blocks as the source has them, whatever an earlier attempt has
// finished: micro-batches stream through as many blocks at once as the memory budget holds, and on to the next stage.
// Where there is none, one block at a time.
// Used from one thread, and without gradients.
class BlockStream {
 public:
  // `bytes`: what a block takes while micro-batches stream through it. The references outlive the stream.
  static absl::StatusOr<std::unique_ptr<BlockStream>> Create(StageContext& context, const SharedTokens& tokens,
                                                             std::function<int64_t(int64_t block)> bytes);

  // Reads the next blocks: as many as fit the budget, at least one, and one where there is no other stage; none: all
  // have been streamed through.
  absl::StatusOr<std::vector<std::unique_ptr<model::Block>>> NextWindow();

  // Sends every micro-batch through the window. `forward(i, hidden)` is what leaves its block i, undefined where nobody
  // reads it (after the model's last block); `progress` hears the share of micro-batches that are through.
  using Forward = std::function<at::Tensor(size_t i, const at::Tensor& hidden)>;
  absl::Status Run(const Forward& forward, const std::function<void(double)>& progress);

  // Waits until the next stage has everything.
  absl::Status Finish() { return sender_.Drain(); }

  const model::RotaryTable& rotary() const { return rotary_; }

 private:
  BlockStream(StageContext& context, const SharedTokens& tokens, std::function<int64_t(int64_t)> bytes);

  StageContext& context_;
  const SharedTokens& tokens_;
  const std::function<int64_t(int64_t)> bytes_;
  const model::RotaryTable rotary_;
  BlockPrefetch blocks_;
  HiddenSender sender_;
  std::unique_ptr<StageInputs> inputs_;
  std::vector<at::Tensor> hidden_;  // of all micro-batches, between windows
  int64_t first_, after_;           // of the window: [first, after)
};

}  // namespace calipress::engine
