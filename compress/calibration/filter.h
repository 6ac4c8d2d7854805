#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_set>

#include "compress/calibration/item_stream.h"
#include "compress/calibration/min_hash.h"
#include "compress/calibration/source.h"
#include "compress/calibration/source_request.h"

namespace calipress::calibration {

// Lets the items of another stream through that a recipe's filter keeps, in their order and no further ahead than one
// batch of the model's. An item is compared with earlier ones: equal to any that had enough tokens, near to those that
// were kept. What passes does not depend on the size of a batch.
class FilteredStream : public ItemStream {
 public:
  // Asks `model`, which must be there where the filter has a perplexity, for the first `length` tokens of an item.
  FilteredStream(ItemStream& items, const v1::Filter& filter, int64_t length, ModelOracle* model);

  // None: there are no more for now; asked again it looks for more.
  absl::StatusOr<std::optional<Item>> Next() override;

  // Items that came so far, and those of them that were left out.
  int64_t seen() const { return seen_; }
  int64_t left_out() const { return few_tokens_ + many_tokens_ + equal_ + near_ + low_ + high_; }
  // ". Its filter left out 7 of 10: 4 with fewer than 100 tokens, 3 equal to earlier ones"; empty without a filter.
  std::string Account() const;

 private:
  struct Waiting {
    Item item;
    // What an item fails by before the model is asked, counted when it is its turn; null: it goes on.
    int64_t FilteredStream::*reason = nullptr;
    double perplexity = 0;
  };

  absl::Status Refill();
  int64_t FilteredStream::*BeforeModel(const Item& item);
  int64_t FilteredStream::*AfterModel(const Waiting& waiting);
  // Below which there is nothing to predict, or to compare.
  int64_t LeastTokens() const;
  bool scores() const { return filter_.has_min_perplexity() || filter_.has_max_perplexity(); }

  ItemStream& items_;
  const v1::Filter filter_;
  const int64_t length_;
  ModelOracle* const model_;
  std::deque<Waiting> waiting_;
  std::unordered_set<std::string> digests_;
  NearDuplicates kept_;
  int64_t seen_ = 0;
  int64_t few_tokens_ = 0;
  int64_t many_tokens_ = 0;
  int64_t equal_ = 0;
  int64_t near_ = 0;
  int64_t low_ = 0;
  int64_t high_ = 0;
};

}  // namespace calipress::calibration
