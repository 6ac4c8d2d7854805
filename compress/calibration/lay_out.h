#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "compress/calibration/documents.h"
#include "compress/calibration/source.h"
#include "compress/calibration/source_request.h"

namespace calipress::calibration {

// Sequences of one length from documents: drawn in the order of random stream 0 of the seed, tokenized by `encode`,
// those taken that the filter keeps, none twice.
//
// Pack: end to end, cut. Window: from each that has enough tokens one window, that of document i placed by random
// stream i + 1. INVALID_CALIBRATION_DATA with the counts where there is too little.
absl::StatusOr<SourceTokens> LayOutDocuments(
    const Documents& documents, v1::TextLayout layout,
    const std::function<absl::StatusOr<std::vector<int64_t>>(const std::string& text)>& encode,
    const SourceRequest& request, const SourceContext& context);

}  // namespace calipress::calibration
