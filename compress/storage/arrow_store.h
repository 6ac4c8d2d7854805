#pragma once

#include <memory>

#include "compress/storage/object_store.h"

namespace calipress::storage {

// The store over Arrow's file systems, bare: no metrics, no repeats beyond those of single HTTP requests.
std::unique_ptr<ObjectStore> MakeArrowStore(const StorageOptions& options);

}  // namespace calipress::storage
