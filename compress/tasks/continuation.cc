#include "compress/tasks/continuation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/id_range.h"
#include "compress/tasks/white_space.h"

namespace calipress::tasks {
namespace {

absl::Status RowError(const std::string& message) { return UserError(reason::kInvalidCalibrationData, message); }

}  // namespace

absl::StatusOr<ContinuationEncoder> ContinuationEncoder::Create(const calibration::SourceContext& source) {
  if (source.tokenizer == nullptr) return DefectError("an evaluation task without a tokenizer");
  ContinuationEncoder encoder(source);
  // The post-processor puts the same tokens around every text: what is before this one.
  constexpr std::string_view kProbe = "a";
  CALIPRESS_ASSIGN_OR_RETURN(const std::vector<int64_t> all, source.tokenizer->Encode(kProbe, true));
  CALIPRESS_ASSIGN_OR_RETURN(const std::vector<int64_t> plain, source.tokenizer->Encode(kProbe, false));
  encoder.before_.assign(all.begin(), std::search(all.begin(), all.end(), plain.begin(), plain.end()));
  return encoder;
}

absl::StatusOr<std::vector<int64_t>> ContinuationEncoder::Encode(std::string_view text) const {
  std::vector<int64_t> ids = before_;
  CALIPRESS_ASSIGN_OR_RETURN(const std::vector<int64_t> own, source_.tokenizer->Encode(text, false));
  ids.insert(ids.end(), own.begin(), own.end());
  CALIPRESS_RETURN_IF_ERROR(calibration::CheckTokenizerIds(ids, source_.vocabulary));
  return ids;
}

absl::StatusOr<ContinuationEncoder::Context> ContinuationEncoder::Begin(std::string_view context) const {
  const size_t end = BytesBeforeTrailingSpace(context);
  Context begun;
  begun.text = context.substr(0, end);
  begun.space = context.substr(end);
  CALIPRESS_ASSIGN_OR_RETURN(const std::vector<int64_t> ids, Encode(begun.text));
  begun.tokens = static_cast<int64_t>(ids.size());
  if (begun.tokens == 0) {
    return RowError(
        "has an empty context, and this model's tokenizer puts no token before a text: there is nothing to predict a "
        "choice from; give the row a context");
  }
  return begun;
}

absl::StatusOr<Continuation> ContinuationEncoder::Continue(const Context& context, std::string_view text) const {
  Continuation continuation;
  CALIPRESS_ASSIGN_OR_RETURN(continuation.ids, Encode(context.text + context.space + std::string(text)));
  continuation.scored = static_cast<int64_t>(continuation.ids.size()) - context.tokens;
  if (continuation.scored < 1) return RowError("adds no token to its context; give it more text");
  if (continuation.scored > source_.max_positions) {
    return RowError(absl::StrCat("has ", continuation.scored, " tokens, more than the model's ", source_.max_positions,
                                 " positions; shorten it"));
  }
  // The last id is predicted and not seen.
  const int64_t excess = static_cast<int64_t>(continuation.ids.size()) - 1 - source_.max_positions;
  if (excess > 0) continuation.ids.erase(continuation.ids.begin(), continuation.ids.begin() + excess);
  return continuation;
}

}  // namespace calipress::tasks
