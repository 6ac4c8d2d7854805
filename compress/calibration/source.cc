#include "compress/calibration/source.h"

#include "absl/strings/str_cat.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/metrics.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/prefix_generated_source.h"
#include "compress/calibration/self_generated_source.h"
#include "compress/calibration/text_source.h"
#include "compress/calibration/token_ids_source.h"

namespace calipress::calibration {
namespace {

prometheus::Counter& TokensTotal(const std::string& source) {
  static auto& family =
      CounterFamily("calipress_calibration_tokens_total", "Calibration tokens made, by their source.");
  return family.Add({{"source", source}});
}

absl::StatusOr<TokenMatrix> FromSource(const v1::CalibrationSource& source, const v1::Calibration& calibration,
                                       const SourceContext& context) {
  switch (source.source_case()) {
    case v1::CalibrationSource::kText:
      if (calibration.samples() < 1 || calibration.sequence_length() < 1) {
        return DefectError("calibration text without samples or sequence_length: not a resolved recipe");
      }
      if (calibration.sequence_length() > context.max_positions) {
        // Before the text is read, which may take long.
        return UserError(reason::kInvalidCalibrationData,
                         absl::StrCat("calibration.sequence_length ", calibration.sequence_length(),
                                      " is more than the model's ", context.max_positions, " positions"));
      }
      return TokensFromText(source.text(), calibration, context);
    case v1::CalibrationSource::kTokenIds:
      return TokensFromIds(source.token_ids(), calibration, context);
    case v1::CalibrationSource::kSelfGenerated:
      return TokensFromSelf(source.self_generated(), calibration, context);
    case v1::CalibrationSource::kPrefixGenerated:
      return TokensFromPrefixes(source.prefix_generated(), calibration, context);
    case v1::CalibrationSource::kRandomVocabulary:
    case v1::CalibrationSource::kInstructions:
    case v1::CalibrationSource::SOURCE_NOT_SET:
      break;
  }
  return DefectError("a calibration source without a kind: not a validated recipe");
}

}  // namespace

absl::StatusOr<TokenMatrix> MakeCalibrationTokens(const v1::Calibration& calibration, const SourceContext& context) {
  if (calibration.sources_size() != 1) {
    return DefectError(absl::StrCat(calibration.sources_size(), " calibration sources: not a validated recipe"));
  }
  const v1::CalibrationSource& source = calibration.sources(0);
  CALIPRESS_ASSIGN_OR_RETURN(TokenMatrix tokens, FromSource(source, calibration, context));
  if (tokens.length > context.max_positions) {
    return UserError(reason::kInvalidCalibrationData,
                     absl::StrCat("calibration sequences of ", tokens.length, " tokens are longer than the model's ",
                                  context.max_positions, " positions; cut the rows of the file"));
  }
  TokensTotal(source.GetDescriptor()->FindFieldByNumber(static_cast<int>(source.source_case()))->name())
      .Increment(static_cast<double>(tokens.ids.size()));
  return tokens;
}

std::string Fingerprint(const TokenMatrix& tokens) {
  Sha256 digest;
  digest.Update(tokens.ids.data(), tokens.ids.size() * sizeof(int64_t));
  return digest.Finish();
}

}  // namespace calipress::calibration
