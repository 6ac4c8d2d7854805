#include "compress/calibration/token_ids_source.h"

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/documents.h"

namespace calipress::calibration {
namespace {

// As many ids as Validate lets a recipe ask for, and a header.
constexpr int64_t kMaxFileBytes = (int64_t{1} << 31) + 65536;

absl::Status Refused(const std::string& name, const std::string& message) {
  return UserError(reason::kInvalidCalibrationData, absl::StrCat(name, " ", message));
}

}  // namespace

absl::StatusOr<TokenMatrix> TokensFromIds(const v1::TokenIdsSource& source, const v1::Calibration& calibration,
                                          const SourceContext& context) {
  const std::string name = storage::RedactUri(source.uri());
  CALIPRESS_ASSIGN_OR_RETURN(const auto reader, OpenDataFile(context.store, source.uri()));
  if (reader->size() > kMaxFileBytes) {
    return Refused(name, absl::StrCat("has ", reader->size(), " bytes; at most ", kMaxFileBytes, " are read"));
  }
  std::string bytes(reader->size(), '\0');
  CALIPRESS_RETURN_IF_ERROR(reader->ReadAt(0, reader->size(), bytes.data()));
  auto parsed = ParseNpy(bytes);
  if (!parsed.ok()) return Annotate(parsed.status(), name);
  TokenMatrix& tokens = *parsed;

  if (calibration.has_sequence_length() && calibration.sequence_length() != tokens.length) {
    return Refused(name,
                   absl::StrCat("has sequences of ", tokens.length, " tokens, and calibration.sequence_length is ",
                                calibration.sequence_length(), "; leave it out: the file decides"));
  }
  if (calibration.has_samples()) {
    if (calibration.samples() > tokens.sequences) {
      return Refused(name, absl::StrCat("has ", tokens.sequences, " sequences, and calibration.samples is ",
                                        calibration.samples(), "; lower it, or leave it out to use all"));
    }
    tokens.sequences = calibration.samples();
    tokens.ids.resize(tokens.sequences * tokens.length);
  }
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    if (tokens.ids[i] >= 0 && tokens.ids[i] < context.vocabulary) continue;
    return Refused(name, absl::StrCat("has the id ", tokens.ids[i], " in row ", i / tokens.length, ", column ",
                                      i % tokens.length, " (from 0), and the model's vocabulary has ",
                                      context.vocabulary, " (vocab_size); the ids are of another tokenizer"));
  }
  return parsed;
}

}  // namespace calipress::calibration
