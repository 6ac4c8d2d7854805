#include "server/store/store_metrics.h"

#include <utility>

#include "compress/base/metrics.h"

namespace calipress::store {

StoreCall::~StoreCall() {
  static auto& family =
      HistogramFamily("calipress_jobstore_request_duration_seconds", "Seconds per call of the job store.");
  family.Add({{"operation", operation_}}, RpcBuckets()).Observe(watch_.Seconds());
}

absl::Status StoreCall::Note(absl::Status status) {
  static auto& family = CounterFamily("calipress_jobstore_errors_total", "Calls of the job store that it failed.");
  if (status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kInternal) {
    family.Add({{"operation", operation_}}).Increment();
  }
  return status;
}

}  // namespace calipress::store
