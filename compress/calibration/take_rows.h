#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "compress/calibration/item_stream.h"
#include "compress/calibration/source.h"
#include "compress/calibration/source_request.h"

namespace calipress::calibration {

// Whole sequences, as many as are wanted, of those that the filter keeps. `kind`: the source, for the message where the
// rows end before.
absl::StatusOr<SourceTokens> TakeRows(ItemStream& rows, const SourceRequest& request, const SourceContext& context,
                                      const std::string& kind);

}  // namespace calipress::calibration
