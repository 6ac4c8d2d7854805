#include "compress/calibration/take_rows.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/filter.h"

namespace calipress::calibration {

absl::StatusOr<SourceTokens> TakeRows(ItemStream& rows, const SourceRequest& request, const SourceContext& context,
                                      const std::string& kind) {
  FilteredStream items(rows, request.filter, request.length, context.model);
  SourceTokens tokens{.length = request.length, .ids = {}};
  while (tokens.sequences < request.sequences) {
    CALIPRESS_ASSIGN_OR_RETURN(const std::optional<Item> item, items.Next());
    if (!item) {
      return UserError(reason::kInvalidCalibrationData,
                       absl::StrCat(kind, " gave ", tokens.sequences, " of ", request.sequences, " sequences",
                                    items.Account(), "; widen the filter"));
    }
    tokens.ids.insert(tokens.ids.end(), item->ids.begin(), item->ids.end());
    ++tokens.sequences;
  }
  tokens.documents = items.seen();
  tokens.filtered = items.left_out();
  return tokens;
}

}  // namespace calipress::calibration
