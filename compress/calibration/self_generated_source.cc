#include "compress/calibration/self_generated_source.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/stop_words.h"
#include "compress/calibration/take_rows.h"

namespace calipress::calibration {
namespace {

// A filter that the model's texts do not pass must not go on for ever.
constexpr int64_t kTriesPerSequence = 20;

// Sequences as the model writes them, as many at once as are wanted.
class WrittenSequences : public ItemStream {
 public:
  WrittenSequences(ModelOracle& model, GenerationRequest request, int64_t wanted)
      : model_(model), request_(std::move(request)), wanted_(wanted), left_(kTriesPerSequence * wanted) {}

  absl::StatusOr<std::optional<Item>> Next() override {
    if (ready_.empty() && left_ == 0) return std::nullopt;
    if (ready_.empty()) CALIPRESS_RETURN_IF_ERROR(Write());
    Item item = std::move(ready_.front());
    ready_.pop_front();
    return item;
  }

 private:
  absl::Status Write() {
    const int64_t count = std::min(wanted_, left_);
    GenerationRequest request = request_;
    request.sequences = count;
    request.first_stream += static_cast<uint64_t>(written_);
    request.prompts.assign(count, request_.prompts.front());
    CALIPRESS_ASSIGN_OR_RETURN(auto sequences, model_.Generate(request));
    for (ScoredSequence& sequence : sequences) {
      if (static_cast<int64_t>(sequence.ids.size()) != request.tokens) {
        return DefectError("the model wrote other sequences than it was asked for");
      }
      ready_.push_back({.number = written_++, .ids = std::move(sequence.ids)});
    }
    left_ -= count;
    return ready_.empty() ? DefectError("the model wrote nothing") : absl::OkStatus();
  }

  ModelOracle& model_;
  const GenerationRequest request_;  // with the one prompt that all have
  const int64_t wanted_;
  int64_t left_;
  int64_t written_ = 0;
  std::deque<Item> ready_;
};

}  // namespace

absl::StatusOr<SourceTokens> TokensFromSelf(const v1::SelfGeneratedSource& source, const SourceRequest& wanted,
                                            const SourceContext& context) {
  if (context.model == nullptr) return DefectError("a self-generated source without a model");
  if (!context.begin_id) {
    return UserError(reason::kInvalidCalibrationData,
                     "self_generated: the model has no beginning-of-sequence token to write from (bos_token_id in "
                     "generation_config.json or config.json); use prefix_generated, or text");
  }
  GenerationRequest request;
  request.seed = wanted.seed;
  request.first_stream = FirstStream(wanted);
  request.prompts = {{*context.begin_id}};
  request.tokens = wanted.length;
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
  WrittenSequences written(*context.model, std::move(request), wanted.sequences);
  return TakeRows(written, wanted, context, "self_generated");
}

}  // namespace calipress::calibration
