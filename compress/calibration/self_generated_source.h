#pragma once

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "compress/calibration/source.h"

namespace calipress::calibration {

// What the model writes from its beginning-of-sequence token alone (methods.md 1.1): each text begins with that token
// and keeps the one that ends it; texts follow each other until the sequence is full. Sequence i draws from stream
// draw * 2^32 + i of the seed. INVALID_CALIBRATION_DATA where the model names no such token, or has fewer positions
// than a sequence.
absl::StatusOr<TokenMatrix> TokensFromSelf(const v1::SelfGeneratedSource& source, const v1::Calibration& calibration,
                                           const SourceContext& context);

// Where the streams of a draw begin.
inline uint64_t FirstStream(const v1::Calibration& calibration) {
  return static_cast<uint64_t>(calibration.draw().index()) << 32;
}

}  // namespace calipress::calibration
