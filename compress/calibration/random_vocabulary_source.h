#pragma once

#include "absl/status/statusor.h"
#include "compress/calibration/source.h"
#include "compress/calibration/source_request.h"

namespace calipress::calibration {

// Rows of ids drawn independently and uniformly from the tokenizer's tokens but the special ones (methods.md 1.2). Row
// i of a draw comes from random stream i * draws + draw: no two draws share a stream, and a row does not depend on how
// many there are. Rows that the filter leaves out are followed by others.
absl::StatusOr<SourceTokens> TokensFromVocabulary(const SourceRequest& request, const SourceContext& context);

}  // namespace calipress::calibration
