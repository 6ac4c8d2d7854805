#pragma once

#include <functional>
#include <string_view>

#include "absl/status/status.h"
#include "compress/storage/object_store.h"

namespace calipress::storage {

// Takes unpacked bytes piece by piece; an error ends the unpacking.
using UnpackedSink = std::function<absl::Status(std::string_view bytes)>;

// .xz of one or more streams, by liblzma: Arrow has no codec for it. Errors as Unpack.
absl::Status UnpackXz(ObjectReader& packed, const UnpackedSink& sink);

}  // namespace calipress::storage
