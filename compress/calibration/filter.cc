#include "compress/calibration/filter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"

namespace calipress::calibration {
namespace {

// Items that are scored together: enough to fill the workers, few enough that little is scored in vain.
constexpr size_t kBatch = 32;

}  // namespace

FilteredStream::FilteredStream(ItemStream& items, const v1::Filter& filter, int64_t length, ModelOracle* model)
    : items_(items), filter_(filter), length_(length), model_(model) {}

absl::StatusOr<std::optional<Item>> FilteredStream::Next() {
  while (true) {
    if (waiting_.empty()) CALIPRESS_RETURN_IF_ERROR(Refill());
    if (waiting_.empty()) return std::nullopt;
    Waiting waiting = std::move(waiting_.front());
    waiting_.pop_front();
    ++seen_;
    int64_t FilteredStream::*reason = waiting.reason ? waiting.reason : AfterModel(waiting);
    if (reason == nullptr) return std::move(waiting.item);
    ++(this->*reason);
  }
}

absl::Status FilteredStream::Refill() {
  const size_t batch = scores() ? kBatch : 1;
  std::vector<std::vector<int64_t>> asked;
  while (waiting_.size() < batch) {
    CALIPRESS_ASSIGN_OR_RETURN(std::optional<Item> item, items_.Next());
    if (!item) break;
    Waiting& waiting = waiting_.emplace_back();
    waiting.reason = BeforeModel(*item);
    if (scores() && waiting.reason == nullptr) {
      const auto end = item->ids.begin() + std::min<int64_t>(length_, static_cast<int64_t>(item->ids.size()));
      asked.emplace_back(item->ids.begin(), end);
    }
    waiting.item = *std::move(item);
  }
  if (asked.empty()) return absl::OkStatus();
  if (model_ == nullptr) return DefectError("a filter by perplexity without the model");
  const size_t count = asked.size();
  CALIPRESS_ASSIGN_OR_RETURN(const std::vector<ScoredSequence> scored, model_->Score(std::move(asked)));
  if (scored.size() != count) return DefectError("the model scored another number of sequences than it was given");
  size_t next = 0;
  for (Waiting& waiting : waiting_) {
    if (waiting.reason == nullptr) waiting.perplexity = scored[next++].Perplexity();
  }
  return absl::OkStatus();
}

int64_t FilteredStream::LeastTokens() const { return scores() ? 2 : filter_.has_near_duplicates() ? 1 : 0; }

int64_t FilteredStream::*FilteredStream::BeforeModel(const Item& item) {
  const int64_t tokens = static_cast<int64_t>(item.ids.size());
  if (tokens < std::max<int64_t>(LeastTokens(), filter_.min_tokens())) return &FilteredStream::few_tokens_;
  if (filter_.has_max_tokens() && tokens > filter_.max_tokens()) return &FilteredStream::many_tokens_;
  if (filter_.exact_duplicates()) {
    Sha256 digest;
    digest.Update(item.ids.data(), item.ids.size() * sizeof(int64_t));
    if (!digests_.insert(digest.Finish()).second) return &FilteredStream::equal_;
  }
  return nullptr;
}

int64_t FilteredStream::*FilteredStream::AfterModel(const Waiting& waiting) {
  // Written so that one that is not a number is left out.
  if (filter_.has_min_perplexity() && !(waiting.perplexity >= filter_.min_perplexity())) return &FilteredStream::low_;
  if (filter_.has_max_perplexity() && !(waiting.perplexity <= filter_.max_perplexity())) return &FilteredStream::high_;
  if (filter_.has_near_duplicates() && !kept_.Insert(waiting.item.ids, filter_.near_duplicates())) {
    return &FilteredStream::near_;
  }
  return nullptr;
}

std::string FilteredStream::Account() const {
  if (left_out() == 0) return "";
  std::vector<std::string> reasons;
  const auto add = [&](int64_t count, const std::string& what) {
    if (count > 0) reasons.push_back(absl::StrCat(count, " ", what));
  };
  add(few_tokens_, absl::StrCat("with fewer than ", std::max<int64_t>(LeastTokens(), filter_.min_tokens()), " tokens"));
  add(many_tokens_, absl::StrCat("with more than ", filter_.max_tokens(), " tokens"));
  add(equal_, "equal to earlier ones");
  add(near_, absl::StrCat("with ", filter_.near_duplicates(), " of their runs of 5 tokens in earlier ones"));
  add(low_, absl::StrCat("with a perplexity below ", filter_.min_perplexity()));
  add(high_, absl::StrCat("with a perplexity above ", filter_.max_perplexity()));
  return absl::StrCat(". Its filter left out ", left_out(), " of ", seen_, ": ", absl::StrJoin(reasons, ", "));
}

}  // namespace calipress::calibration
