#pragma once

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "compress/calibration/source.h"

namespace calipress::calibration {

// The first `samples` rows of a .npy file, or all. INVALID_CALIBRATION_DATA for too few rows, a sequence_length that is
// not the file's, and ids outside the vocabulary (with row and column).
absl::StatusOr<TokenMatrix> TokensFromIds(const v1::TokenIdsSource& source, const v1::Calibration& calibration,
                                          const SourceContext& context);

}  // namespace calipress::calibration
