#include "worker/stage/classified_executor.h"

#include "absl/strings/cord.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/tensor/guard.h"

namespace calipress::worker {
namespace {

class ClassifiedExecutor : public StageExecutor {
 public:
  explicit ClassifiedExecutor(std::unique_ptr<StageExecutor> executor) : executor_(std::move(executor)) {}

  absl::StatusOr<worker::v1::StageOutcome> Execute(const worker::v1::Assignment& assignment,
                                                   engine::StageObserver& observer,
                                                   const CancellationToken& cancellation) override {
    worker::v1::StageOutcome outcome;
    const absl::Status status = tensor::Guard("stage", [&]() -> absl::Status {
      CALIPRESS_ASSIGN_OR_RETURN(outcome, executor_->Execute(assignment, observer, cancellation));
      return absl::OkStatus();
    });
    if (status.ok()) return outcome;
    const absl::Status cause = cancellation.cancelled() ? cancellation.status() : status;
    absl::Status classified = MakeError(cause.code(), ErrorReason(cause), ErrorClassOf(cause),
                                        std::string_view(cause.message().data(), cause.message().size()));
    cause.ForEachPayload(
        [&](absl::string_view url, const absl::Cord& payload) { classified.SetPayload(url, payload); });
    return classified;
  }

 private:
  std::unique_ptr<StageExecutor> executor_;
};

}  // namespace

std::unique_ptr<StageExecutor> ClassifyFailures(std::unique_ptr<StageExecutor> executor) {
  return std::make_unique<ClassifiedExecutor>(std::move(executor));
}

}  // namespace calipress::worker
