#include "compress/calibration/self_generated_source.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/stop_words.h"

namespace calipress::calibration {

absl::StatusOr<TokenMatrix> TokensFromSelf(const v1::SelfGeneratedSource& source, const v1::Calibration& calibration,
                                           const SourceContext& context) {
  if (context.model == nullptr) return DefectError("a self-generated source without a model");
  if (!context.begin_id) {
    return UserError(reason::kInvalidCalibrationData,
                     "self_generated: the model has no beginning-of-sequence token to write from (bos_token_id in "
                     "generation_config.json or config.json); use prefix_generated, or text");
  }
  if (calibration.sequence_length() > context.max_positions) {
    return UserError(reason::kInvalidCalibrationData,
                     absl::StrCat("calibration.sequence_length ", calibration.sequence_length(),
                                  " is more than the model's ", context.max_positions, " positions"));
  }
  GenerationRequest request;
  request.sequences = calibration.samples();
  request.seed = calibration.seed();
  request.first_stream = FirstStream(calibration);
  request.prompts.assign(request.sequences, {*context.begin_id});
  request.tokens = calibration.sequence_length();
  request.initial_temperature = source.initial_temperature();
  request.final_temperature = source.final_temperature();
  request.schedule_tokens = source.schedule_tokens();
  request.top_k = source.top_k();
  request.top_p = source.top_p();
  request.end_ids = context.end_ids;
  request.restart = true;
  if (source.first_tokens() == v1::FIRST_TOKENS_STOP_WORDS) {
    if (context.tokenizer == nullptr) return DefectError("stop words without a tokenizer");
    CALIPRESS_ASSIGN_OR_RETURN(request.first_ids, StopWordIds(*context.tokenizer));
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto sequences, context.model->Generate(request));
  TokenMatrix tokens;
  tokens.sequences = request.sequences;
  tokens.length = request.tokens;
  for (const ScoredSequence& sequence : sequences) {
    tokens.ids.insert(tokens.ids.end(), sequence.ids.begin(), sequence.ids.end());
  }
  if (static_cast<int64_t>(tokens.ids.size()) != tokens.sequences * tokens.length) {
    return DefectError("the model wrote other sequences than it was asked for");
  }
  return tokens;
}

}  // namespace calipress::calibration
