#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/tokenizer/tokenizer.h"

namespace calipress::calibration {

// The ids of English stop words that are one token, in lower and title case, with and without a space before; sorted.
// INVALID_CALIBRATION_DATA where the tokenizer has none.
absl::StatusOr<std::vector<int64_t>> StopWordIds(const tokenizer::Tokenizer& tokenizer);

}  // namespace calipress::calibration
