#include "compress/calibration/text_source.h"

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/documents.h"
#include "compress/calibration/lay_out.h"

namespace calipress::calibration {

absl::StatusOr<SourceTokens> TokensFromText(const v1::TextSource& source, const SourceRequest& request,
                                            const SourceContext& context) {
  if (context.tokenizer == nullptr) return DefectError("calibration text without a tokenizer");
  CALIPRESS_ASSIGN_OR_RETURN(const auto documents, Documents::Open(context.store, source.uri(), source.field()));
  const auto encode = [&](const std::string& text) {
    return context.tokenizer->Encode(text, /*add_special_tokens=*/true);
  };
  return LayOutDocuments(*documents, source.layout(), encode, request, context);
}

}  // namespace calipress::calibration
