#include "compress/calibration/filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/random.h"
#include "compress/calibration/min_hash.h"
#include "tests/unit/compress/calibration/testing_files.h"
#include "tests/unit/compress/calibration/testing_oracle.h"

namespace calipress::calibration {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Given : public ItemStream {
 public:
  explicit Given(std::vector<std::vector<int64_t>> items) : items_(std::move(items)) {}
  absl::StatusOr<std::optional<Item>> Next() override {
    if (next_ == items_.size()) return std::nullopt;
    const auto number = static_cast<int64_t>(next_);
    return Item{number, items_[next_++]};
  }

 private:
  const std::vector<std::vector<int64_t>> items_;
  size_t next_ = 0;
};

std::vector<int64_t> Numbers(FilteredStream& items) {
  std::vector<int64_t> numbers;
  while (true) {
    const auto item = items.Next();
    EXPECT_TRUE(item.ok()) << item.status();
    if (!item.ok() || !*item) return numbers;
    numbers.push_back((*item)->number);
  }
}

std::vector<int64_t> Random(int64_t count, uint64_t stream) {
  RandomStream random(5, stream);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int64_t>(random.Below(4000)));
  return ids;
}

// The plain share of runs of 5 tokens that two documents have in common.
double Jaccard(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  const auto runs = [](const std::vector<int64_t>& ids) {
    std::set<std::vector<int64_t>> all;
    for (size_t i = 0; i + 5 <= ids.size(); ++i) all.emplace(ids.begin() + i, ids.begin() + i + 5);
    return all;
  };
  const auto in_a = runs(a);
  const auto in_b = runs(b);
  double both = 0;
  for (const auto& run : in_a) both += in_b.count(run);
  return both / (in_a.size() + in_b.size() - both);
}

TEST(Filter, LengthsAndEqualOnes) {
  v1::Filter filter;
  filter.set_min_tokens(2);
  filter.set_max_tokens(4);
  filter.set_exact_duplicates(true);
  Given given({{1}, {1, 2}, {1, 2, 3, 4, 5}, {1, 2}, {2, 1}, {1, 2, 3, 4}, {1, 2}});
  FilteredStream items(given, filter, 10, nullptr);
  EXPECT_THAT(Numbers(items), ElementsAre(1, 4, 5));
  EXPECT_EQ(items.seen(), 7);
  EXPECT_EQ(items.left_out(), 4);
  EXPECT_EQ(items.Account(),
            ". Its filter left out 4 of 7: 1 with fewer than 2 tokens, 1 with more than 4 tokens, 2 equal to earlier "
            "ones");
}

TEST(Filter, NoFilterLetsAllThrough) {
  Given given({{}, {1}, {1}});
  FilteredStream items(given, v1::Filter(), 10, nullptr);
  EXPECT_THAT(Numbers(items), ElementsAre(0, 1, 2));
  EXPECT_EQ(items.Account(), "");
}

TEST(Filter, PerplexityOfTheFirstTokens) {
  v1::Filter filter;
  filter.set_min_perplexity(5);
  filter.set_max_perplexity(50);
  // A sequence's perplexity is its second token; behind `length` the model sees nothing.
  FakeOracle oracle([](const std::vector<int64_t>& ids) { return ids.size() > 1 ? static_cast<double>(ids[1]) : 1.0; });
  std::vector<std::vector<int64_t>> sequences;
  for (int64_t i = 0; i < 100; ++i) sequences.push_back({9, i, 7, 7});
  sequences.push_back({9});
  sequences.push_back({});
  Given given(sequences);
  FilteredStream items(given, filter, 3, &oracle);
  std::vector<int64_t> expected;
  // exp of log is not exact at the bounds themselves.
  const auto kept = Numbers(items);
  for (int64_t i = 6; i < 50; ++i) EXPECT_THAT(kept, testing::Contains(i));
  EXPECT_GE(kept.front(), 5);
  EXPECT_LE(kept.back(), 50);
  for (const auto& ids : oracle.asked) EXPECT_LE(ids.size(), 3u);
  EXPECT_THAT(items.Account(), AllOf(HasSubstr("with a perplexity below 5"), HasSubstr("with a perplexity above 50"),
                                     HasSubstr("2 with fewer than 2 tokens")));
}

// A model predicts nothing of one token: that is no perfect text, and no bad one either.
TEST(Filter, OneTokenHasNoPerplexity) {
  FakeOracle oracle([](const std::vector<int64_t>&) { return 1.0; });
  for (const bool least : {false, true}) {
    v1::Filter filter;
    if (least) filter.set_min_perplexity(0.5);
    if (!least) filter.set_max_perplexity(50);
    Given given({{9}, {9, 8}, {7}});
    FilteredStream items(given, filter, 3, &oracle);
    EXPECT_THAT(Numbers(items), ElementsAre(1));
    EXPECT_THAT(items.Account(), HasSubstr("left out 2 of 3: 2 with fewer than 2 tokens"));
  }
  Given single(std::vector<std::vector<int64_t>>{{9}});
  FilteredStream without(single, v1::Filter(), 3, nullptr);
  EXPECT_THAT(Numbers(without), ElementsAre(0));
  EXPECT_TRUE(std::isnan(ScoredSequence{{9}, 0.0, 0}.Perplexity()));
}

// Items may come in rounds; what was seen in an earlier one counts.
TEST(Filter, GoesOnWhereMoreComes) {
  class Rounds : public ItemStream {
   public:
    absl::StatusOr<std::optional<Item>> Next() override {
      if (next == items.size()) return std::nullopt;
      const auto number = static_cast<int64_t>(next);
      return Item{number, items[next++]};
    }
    std::vector<std::vector<int64_t>> items = {{1, 2}, {3, 4}, {1, 2}};
    size_t next = 0;
  };
  Rounds rounds;
  v1::Filter filter;
  filter.set_exact_duplicates(true);
  filter.set_max_perplexity(50);
  FakeOracle oracle([](const std::vector<int64_t>&) { return 2.0; });
  FilteredStream items(rounds, filter, 3, &oracle);
  EXPECT_THAT(Numbers(items), ElementsAre(0, 1));
  rounds.items.insert(rounds.items.end(), {{3, 4}, {5, 6}});
  EXPECT_THAT(Numbers(items), ElementsAre(4));
  EXPECT_EQ(oracle.asked.size(), 3u);
  EXPECT_EQ(items.left_out(), 2);
}

TEST(Filter, WithoutTheModelIsADefect) {
  v1::Filter filter;
  filter.set_max_perplexity(5);
  Given given({{1, 2}});
  FilteredStream items(given, filter, 3, nullptr);
  EXPECT_EQ(ErrorReason(items.Next().status()), "INTERNAL");
}

TEST(Filter, NotANumberIsLeftOut) {
  v1::Filter filter;
  filter.set_max_perplexity(5);
  FakeOracle oracle([](const std::vector<int64_t>&) { return std::nan(""); });
  Given given({{1, 2}});
  FilteredStream items(given, filter, 3, &oracle);
  EXPECT_THAT(Numbers(items), ElementsAre());
}

TEST(MinHash, EstimatesTheShareOfRuns) {
  const std::vector<int64_t> whole = Random(400, 1);
  for (const int64_t changed : {0, 20, 60, 120, 250}) {
    std::vector<int64_t> other = whole;
    const auto fresh = Random(changed, 2);
    std::copy(fresh.begin(), fresh.end(), other.begin() + 30);
    const Signature a = MinHashOf(whole);
    const Signature b = MinHashOf(other);
    double agree = 0;
    for (int h = 0; h < kHashes; ++h) agree += a[h] == b[h];
    // Standard deviation of a share of 128 draws: 0.044 at most.
    EXPECT_NEAR(agree / kHashes, Jaccard(whole, other), 0.13) << changed;
  }
  EXPECT_EQ(MinHashOf({1, 2, 3}), MinHashOf({1, 2, 3}));
  EXPECT_NE(MinHashOf({1, 2, 3}), MinHashOf({1, 2, 4}));
}

TEST(Filter, NearOnesOfThoseThatWereKept) {
  v1::Filter filter;
  filter.set_near_duplicates(0.6);
  std::vector<std::vector<int64_t>> sequences = {Random(300, 1), Random(300, 2), Random(300, 1), Random(300, 3)};
  sequences[2][150] = 1;  // nearly the first: 5 of its 296 runs differ
  std::vector<int64_t> half = Random(300, 2);
  const auto fresh = Random(150, 9);
  std::copy(fresh.begin(), fresh.end(), half.begin());  // a third of all runs in common
  sequences.push_back(half);
  sequences.push_back({1, 2, 3});
  sequences.push_back({1, 2, 3});
  Given given(sequences);
  FilteredStream items(given, filter, 10, nullptr);
  EXPECT_THAT(Numbers(items), ElementsAre(0, 1, 3, 4, 5));
  EXPECT_THAT(items.Account(), HasSubstr("2 with 0.6 of their runs of 5 tokens in earlier ones"));
}

class FilteredSourcesTest : public FileTest {};

TEST_F(FilteredSourcesTest, CountsAndTooFewLeft) {
  std::string rows;
  for (int i = 0; i < 20; ++i) absl::StrAppend(&rows, "{\"text\": \"the same words for all of them\"}\n");
  rows += "{\"text\": \"other words that are here once, and they are so many that a window fits\"}\n";
  v1::Calibration calibration;
  v1::CalibrationSource* source = calibration.add_sources();
  source->mutable_text()->set_uri(Write("a.jsonl", rows));
  source->mutable_text()->set_field("text");
  source->mutable_filter()->set_exact_duplicates(true);
  calibration.set_samples(2);
  calibration.set_sequence_length(4);
  const auto tokens = MakeCalibrationTokens(calibration, Context());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->parts[0].documents() - tokens->parts[0].filtered() <= 2, true);

  calibration.set_samples(100);
  const auto error = MakeCalibrationTokens(calibration, Context()).status();
  EXPECT_EQ(ErrorReason(error), "INVALID_CALIBRATION_DATA");
  EXPECT_THAT(std::string(error.message()),
              AllOf(HasSubstr("too little text"), HasSubstr("left out 19 of 21: 19 equal to earlier ones")));

  source->mutable_filter()->set_min_tokens(1000);
  EXPECT_THAT(std::string(MakeCalibrationTokens(calibration, Context()).status().message()),
              HasSubstr("left out 21 of 21: 21 with fewer than 1000 tokens"));
}

TEST_F(FilteredSourcesTest, RowsOfIdsAndRandomOnes) {
  v1::Calibration calibration;
  v1::CalibrationSource* source = calibration.add_sources();
  source->mutable_token_ids()->set_uri(Write("a.npy", FormatNpy({4, 2, {1, 2, 3, 4, 1, 2, 5, 6}})));
  source->mutable_filter()->set_exact_duplicates(true);
  auto tokens = MakeCalibrationTokens(calibration, Context());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->ids, (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(tokens->parts[0].filtered(), 1);
  calibration.set_samples(4);
  EXPECT_THAT(std::string(MakeCalibrationTokens(calibration, Context()).status().message()),
              HasSubstr("has 3 sequences, and 4 are asked for. Its filter left out 1 of 4"));
  calibration.clear_samples();
  source->mutable_filter()->set_min_tokens(3);
  EXPECT_THAT(std::string(MakeCalibrationTokens(calibration, Context()).status().message()),
              HasSubstr("has 0 sequences"));

  calibration.clear_sources();
  source = calibration.add_sources();
  source->mutable_random_vocabulary();
  calibration.set_samples(3);
  calibration.set_sequence_length(8);
  // Of random rows those that begin with an even id.
  source->mutable_filter()->set_max_perplexity(10);
  FakeOracle oracle([](const std::vector<int64_t>& ids) { return ids[0] % 2 ? 100.0 : 2.0; });
  SourceContext context = Context();
  context.model = &oracle;
  tokens = MakeCalibrationTokens(calibration, context);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->sequences, 3);
  for (int row = 0; row < 3; ++row) EXPECT_EQ(tokens->ids[row * 8] % 2, 0);
  EXPECT_EQ(tokens->parts[0].documents() - tokens->parts[0].filtered(), 3);

  FakeOracle never([](const std::vector<int64_t>&) { return 100.0; });
  context.model = &never;
  EXPECT_THAT(std::string(MakeCalibrationTokens(calibration, context).status().message()),
              AllOf(HasSubstr("random_vocabulary gave 0 of 3"), HasSubstr("60 with a perplexity above 10")));
}

}  // namespace
}  // namespace calipress::calibration
