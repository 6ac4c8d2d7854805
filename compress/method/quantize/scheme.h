#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::method {

// The scheme of a resolved step of `method`; INVALID_RECIPE where a value is none that the format has.
absl::StatusOr<checkpoint::QuantizationScheme> MakeScheme(std::string_view method, int bits, int64_t group_size,
                                                          bool symmetric);

// Rows that share what one grid is made of: 1, a block's, or 0 where all do (Method::row_unit).
int64_t RowUnit(const checkpoint::QuantizationScheme& scheme);

}  // namespace calipress::method
