#pragma once

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "compress/calibration/source.h"
#include "compress/calibration/source_request.h"

namespace calipress::calibration {

// What the model writes from its beginning-of-sequence token alone (methods.md 1.1): each text begins with that token
// and keeps the one that ends it; texts follow each other until the sequence is full. Sequence i draws from stream
// draw * 2^32 + i of the seed. The filter acts on sequences; others are written for those that it leaves out, 20 for
// each at most. INVALID_CALIBRATION_DATA where the model names no such token, or has fewer positions than a sequence.
absl::StatusOr<SourceTokens> TokensFromSelf(const v1::SelfGeneratedSource& source, const SourceRequest& request,
                                            const SourceContext& context);

// Where the streams of a draw begin.
inline uint64_t FirstStream(const SourceRequest& request) { return static_cast<uint64_t>(request.draw) << 32; }

}  // namespace calipress::calibration
