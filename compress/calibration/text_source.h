#pragma once

#include "absl/status/statusor.h"
#include "calipress/v1/calibration.pb.h"
#include "compress/calibration/source.h"
#include "compress/calibration/source_request.h"

namespace calipress::calibration {

// Sequences from a text file (LayOutDocuments), each document with its special tokens.
absl::StatusOr<SourceTokens> TokensFromText(const v1::TextSource& source, const SourceRequest& request,
                                            const SourceContext& context);

}  // namespace calipress::calibration
