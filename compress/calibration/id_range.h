#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace calipress::calibration {

// Ids of the model's tokenizer lie below the rows of its embedding; SOURCE_MODEL_CORRUPT where one does not: tokenizer
// and weights are of two models.
absl::Status CheckTokenizerIds(const std::vector<int64_t>& ids, int64_t vocabulary);

}  // namespace calipress::calibration
