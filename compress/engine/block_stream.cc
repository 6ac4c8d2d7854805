#include "compress/engine/block_stream.h"

#include <utility>

#include "compress/base/status_macros.h"

namespace calipress::engine {

BlockStream::BlockStream(StageContext& context, const SharedTokens& tokens, std::function<int64_t(int64_t)> bytes)
    : context_(context),
      tokens_(tokens),
      bytes_(std::move(bytes)),
      rotary_(model::MakeRotaryTable(context.spec(), tokens.batches.length, context.device)),
      blocks_(context.assignment.first_block(), context.assignment.end_block(),
              [&context](int64_t index) { return LoadSourceBlock(context, index); }),
      sender_(context.environment.group, context.activities),
      hidden_(tokens.batches.count()),
      first_(context.assignment.first_block()),
      after_(first_) {}

absl::StatusOr<std::unique_ptr<BlockStream>> BlockStream::Create(StageContext& context, const SharedTokens& tokens,
                                                                 std::function<int64_t(int64_t)> bytes) {
  std::unique_ptr<BlockStream> stream(new BlockStream(context, tokens, std::move(bytes)));
  CALIPRESS_ASSIGN_OR_RETURN(stream->inputs_, StageInputs::Create(context, tokens));
  return stream;
}

absl::StatusOr<std::vector<std::unique_ptr<model::Block>>> BlockStream::NextWindow() {
  std::vector<std::unique_ptr<model::Block>> window;
  first_ = after_;
  // Only a stage behind this one gains by whole windows: it starts with the first micro-batch.
  const bool alone = context_.first() && context_.last();
  int64_t bytes = 0;
  for (; after_ < context_.assignment.end_block(); ++after_) {
    bytes += bytes_(after_);
    if (!window.empty() && (alone || bytes > context_.environment.memory_budget)) break;
    CALIPRESS_ASSIGN_OR_RETURN(model::Block block, blocks_.Next());
    window.push_back(std::make_unique<model::Block>(std::move(block)));
  }
  return window;
}

absl::Status BlockStream::Run(const Forward& forward, const std::function<void(double)>& progress) {
  const int64_t count = tokens_.batches.count();
  for (int64_t i = 0; i < count; ++i) {
    CALIPRESS_RETURN_IF_ERROR(context_.cancellation.status());
    progress(static_cast<double>(i) / static_cast<double>(count));
    if (first_ == context_.assignment.first_block()) {
      CALIPRESS_ASSIGN_OR_RETURN(hidden_[i], inputs_->Next());
    }
    for (int64_t block = first_; block < after_; ++block) hidden_[i] = forward(block - first_, hidden_[i]);
    if (after_ < context_.assignment.end_block()) continue;
    if (!context_.last()) CALIPRESS_RETURN_IF_ERROR(sender_.Put(hidden_[i]));
    hidden_[i] = at::Tensor();
  }
  return absl::OkStatus();
}

}  // namespace calipress::engine
