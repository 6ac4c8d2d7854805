#pragma once

#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/method/quantize/grid.h"

namespace calipress::method {

// The scheme of a resolved step that quantizes; INVALID_RECIPE where a value is none that the format has.
absl::StatusOr<checkpoint::QuantizationScheme> MakeScheme(const v1::Step& step);

Observer ObserverOf(v1::Observer observer);

// Rows that share what one grid is made of: 1, a block's, or 0 where all do (Method::row_unit).
int64_t RowUnit(const checkpoint::QuantizationScheme& scheme);

}  // namespace calipress::method
