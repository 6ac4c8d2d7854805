#include "compress/storage/retry_count.h"

#include <string>

#include "compress/base/metrics.h"

namespace calipress::storage {

void CountRetry(std::string_view reason) {
  static auto& family = CounterFamily("calipress_storage_retries_total",
                                      "Storage requests that were repeated after a passing failure, by its reason.");
  family.Add({{"reason", std::string(reason)}}).Increment();
}

}  // namespace calipress::storage
