#pragma once

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "compress/calibration/source.h"
#include "compress/calibration/source_request.h"

namespace calipress::calibration {

// The rows of a .npy or .safetensors file, from first_row on, that the filter keeps, as many as are asked for: the
// first ones, or those of a draw in its order. INVALID_CALIBRATION_DATA for too few rows, rows of another length than
// the set's, and ids outside the vocabulary (with row and column).
absl::StatusOr<SourceTokens> TokensFromIds(const v1::TokenIdsSource& source, const SourceRequest& request,
                                           const SourceContext& context);

// How many rows of which length a file has from first_row on, from its header alone.
struct TokenFileShape {
  int64_t sequences = 0;
  int64_t length = 0;
};
absl::StatusOr<TokenFileShape> ReadTokenFileShape(storage::ObjectStore& store, const v1::TokenIdsSource& source);

}  // namespace calipress::calibration
