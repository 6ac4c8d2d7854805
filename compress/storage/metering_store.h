#pragma once

#include <memory>

#include "compress/storage/object_store.h"

namespace calipress::storage {

// Counts every operation: calipress_storage_requests_total{operation,backend,outcome},
// calipress_storage_request_duration_seconds{operation,backend} and calipress_storage_bytes_total{direction,backend}.
std::unique_ptr<ObjectStore> MakeMeteringStore(std::unique_ptr<ObjectStore> store);

}  // namespace calipress::storage
