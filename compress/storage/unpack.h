#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "compress/storage/object_store.h"

namespace calipress::storage {

enum class Packing { kGzip, kZstd, kXz };

// Bytes of a packed file at most: a small file may unpack to anything.
inline constexpr int64_t kMostUnpackedBytes = int64_t{8} << 30;

// The bytes that a packed object holds, unpacked once: in memory, or in a temporary file where they are many.
// INVALID_CALIBRATION_DATA for bytes that are not so packed, are cut off, or unpack to more than `limit`. Untrusted.
absl::StatusOr<std::unique_ptr<ObjectReader>> Unpack(ObjectReader& packed, Packing packing,
                                                     int64_t limit = kMostUnpackedBytes);

}  // namespace calipress::storage
