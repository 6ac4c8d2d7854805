#include "compress/calibration/random_vocabulary_source.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/random.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/id_range.h"
#include "compress/calibration/take_rows.h"

namespace calipress::calibration {
namespace {

// A filter that random rows do not pass must not go on for ever.
constexpr int64_t kTriesPerRow = 20;

class RandomRows : public ItemStream {
 public:
  RandomRows(std::vector<int64_t> ids, const SourceRequest& request) : ids_(std::move(ids)), request_(request) {}

  absl::StatusOr<std::optional<Item>> Next() override {
    if (next_ == kTriesPerRow * request_.sequences) return std::nullopt;
    RandomStream random(request_.seed, next_ * request_.draws + request_.draw);
    Item item{.number = next_++, .ids = {}};
    item.ids.reserve(request_.length);
    for (int64_t i = 0; i < request_.length; ++i) item.ids.push_back(ids_[random.Below(ids_.size())]);
    return item;
  }

 private:
  const std::vector<int64_t> ids_;
  const SourceRequest& request_;
  int64_t next_ = 0;
};

}  // namespace

absl::StatusOr<SourceTokens> TokensFromVocabulary(const SourceRequest& request, const SourceContext& context) {
  if (context.tokenizer == nullptr) return DefectError("random_vocabulary without a tokenizer");
  CALIPRESS_ASSIGN_OR_RETURN(std::vector<int64_t> ids, context.tokenizer->OrdinaryIds());
  CALIPRESS_RETURN_IF_ERROR(CheckTokenizerIds(ids, context.vocabulary));
  if (ids.empty()) {
    return UserError(reason::kSourceModelCorrupt, "the model's tokenizer has no tokens but special ones");
  }
  RandomRows rows(std::move(ids), request);
  return TakeRows(rows, request, context, "random_vocabulary");
}

}  // namespace calipress::calibration
