#pragma once

#include "absl/status/status.h"
#include "compress/engine/context.h"

namespace calipress::engine {

// Writes this rank's share of the finished checkpoint's shards (one in world_size) into the staging folder, from the
// staged blocks of all ranks and the source. Every rank's blocks must be complete. Holds one buffer, never a tensor.
absl::Status AssembleShards(StageContext& context);

}  // namespace calipress::engine
