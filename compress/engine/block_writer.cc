#include "compress/engine/block_writer.h"

#include <memory>

#include "compress/base/status_macros.h"
#include "compress/base/thread.h"
#include "compress/tensor/guard.h"

namespace calipress::engine {

BlockWriter::~BlockWriter() {
  if (thread_.joinable()) thread_.join();
}

absl::Status BlockWriter::Finish() {
  if (thread_.joinable()) thread_.join();
  return status_;
}

absl::Status BlockWriter::Write(CompressedBlock block) {
  CALIPRESS_RETURN_IF_ERROR(Finish());
  auto owned = std::make_shared<CompressedBlock>(std::move(block));
  thread_ = StartThread("block-writer", [this, owned] {
    status_ = tensor::Guard("writing a block", [&]() -> absl::Status {
      TimedActivity timed(context_.activities, Activity::kWrite);
      CALIPRESS_ASSIGN_OR_RETURN(
          auto finished,
          WriteBlockFile(context_.store(), *context_.model, context_.recipe(), *owned,
                         storage::JoinUri(context_.assignment.staging_uri(), BlockFileName(owned->index))));
      context_.observer.OnBlockFinished(finished);
      return absl::OkStatus();
    });
  });
  return absl::OkStatus();
}

}  // namespace calipress::engine
