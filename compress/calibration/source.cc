#include "compress/calibration/source.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/metrics.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/instructions_source.h"
#include "compress/calibration/prefix_generated_source.h"
#include "compress/calibration/random_vocabulary_source.h"
#include "compress/calibration/self_generated_source.h"
#include "compress/calibration/source_request.h"
#include "compress/calibration/text_source.h"
#include "compress/calibration/token_ids_source.h"
#include "compress/recipe/calibration_plan.h"

namespace calipress::calibration {
namespace {

prometheus::Counter& TokensTotal(const std::string& source) {
  static auto& family =
      CounterFamily("calipress_calibration_tokens_total", "Calibration tokens made, by their source.");
  return family.Add({{"source", source}});
}

absl::StatusOr<SourceTokens> FromSource(const v1::CalibrationSource& source, const SourceRequest& request,
                                        const SourceContext& context) {
  switch (source.source_case()) {
    case v1::CalibrationSource::kText:
      return TokensFromText(source.text(), request, context);
    case v1::CalibrationSource::kInstructions:
      return TokensFromInstructions(source.instructions(), request, context);
    case v1::CalibrationSource::kRandomVocabulary:
      return TokensFromVocabulary(request, context);
    case v1::CalibrationSource::kTokenIds:
      return TokensFromIds(source.token_ids(), request, context);
    case v1::CalibrationSource::kSelfGenerated:
      return TokensFromSelf(source.self_generated(), request, context);
    case v1::CalibrationSource::kPrefixGenerated:
      return TokensFromPrefixes(source.prefix_generated(), request, context);
    case v1::CalibrationSource::SOURCE_NOT_SET:
      break;
  }
  return DefectError("a calibration source without a kind: not a validated recipe");
}

SourceRequest RequestOf(const v1::Calibration& calibration, int place, int64_t sequences) {
  SourceRequest request;
  request.sequences = sequences;
  request.length = calibration.sequence_length();
  request.seed = recipe::SourceSeed(calibration, place);
  request.drawn = calibration.has_draw();
  if (request.drawn) {
    request.draw = calibration.draw().index();
    request.draws = calibration.draw().of();
  }
  request.filter = calibration.sources(place).filter();
  return request;
}

absl::Status CheckRequest(const v1::CalibrationSource& source, const SourceRequest& request,
                          const SourceContext& context) {
  if (request.draws < 1 || request.draw < 0 || request.draw >= request.draws) {
    return DefectError("a draw that is none of them: not a validated recipe");
  }
  if (!source.has_token_ids() && (request.sequences < 1 || request.length < 1)) {
    return DefectError("a calibration source without samples or sequence_length: not a resolved recipe");
  }
  if (request.length > context.max_positions) {
    // Before the text is read, which may take long.
    return UserError(reason::kInvalidCalibrationData,
                     absl::StrCat("calibration.sequence_length ", request.length, " is more than the model's ",
                                  context.max_positions, " positions"));
  }
  return absl::OkStatus();
}

v1::CalibrationPart PartOf(const v1::CalibrationSource& source, const SourceRequest& request,
                           const SourceTokens& given) {
  v1::CalibrationPart part;
  part.set_kind(recipe::SourceKind(source));
  part.set_uri(storage::RedactUri(recipe::SourceUri(source)));
  part.set_domain(source.domain().empty() ? "general" : source.domain());
  part.set_sequences(given.sequences);
  part.set_tokens(static_cast<int64_t>(given.ids.size()));
  part.set_documents(given.documents);
  part.set_filtered(given.filtered);
  part.set_seed(request.seed);
  return part;
}

// Puts the sequences of a source behind those before.
absl::Status Join(const v1::CalibrationSource& source, SourceTokens given, const SourceContext& context,
                  TokenMatrix* set) {
  const std::string name = storage::RedactUri(recipe::SourceUri(source));
  if (given.length > context.max_positions) {
    return UserError(
        reason::kInvalidCalibrationData,
        absl::StrCat("calibration sequences of ", given.length, " tokens in ", name, " are longer than the model's ",
                     context.max_positions, " positions; cut the rows of the file"));
  }
  if (set->sequences > 0 && given.length != set->length) {
    return UserError(reason::kInvalidCalibrationData,
                     absl::StrCat(name, " has sequences of ", given.length, " tokens, and the sources before it of ",
                                  set->length, "; all of a set have one length"));
  }
  set->length = given.length;
  set->sequences += given.sequences;
  if (set->ids.empty()) {
    set->ids = std::move(given.ids);
  } else {
    set->ids.insert(set->ids.end(), given.ids.begin(), given.ids.end());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenMatrix> MakeCalibrationTokens(const v1::Calibration& calibration, const SourceContext& context) {
  if (calibration.sources_size() == 0) return DefectError("no calibration sources: not a validated recipe");
  const std::vector<int64_t> sequences = recipe::SourceSequences(calibration);
  TokenMatrix set;
  for (int i = 0; i < calibration.sources_size(); ++i) {
    const v1::CalibrationSource& source = calibration.sources(i);
    const SourceRequest request = RequestOf(calibration, i, sequences[i]);
    SourceTokens given;
    if (request.sequences != 0) {  // of weight 0
      CALIPRESS_RETURN_IF_ERROR(CheckRequest(source, request, context));
      auto made = FromSource(source, request, context);
      if (!made.ok()) {
        if (calibration.sources_size() == 1) return made.status();
        return Annotate(made.status(), absl::StrCat("calibration.sources[", i, "]"));
      }
      given = *std::move(made);
    }
    set.parts.push_back(PartOf(source, request, given));
    TokensTotal(set.parts.back().kind()).Increment(static_cast<double>(given.ids.size()));
    if (given.sequences > 0) CALIPRESS_RETURN_IF_ERROR(Join(source, std::move(given), context, &set));
  }
  if (set.sequences == 0) return DefectError("calibration sources that give nothing: not a resolved recipe");
  return set;
}

std::string Fingerprint(const TokenMatrix& tokens) {
  Sha256 digest;
  digest.Update(tokens.ids.data(), tokens.ids.size() * sizeof(int64_t));
  return digest.Finish();
}

}  // namespace calipress::calibration
