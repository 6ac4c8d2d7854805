// What is left out of the texts that the model writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "compress/calibration/prefix_generated_source.h"
#include "tests/unit/compress/calibration/testing_generated.h"

namespace calipress::calibration {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Where all values differ, what lies below numpy's quantile; of equal ones as many.
TEST(WithoutTheHighest, DropsThatShare) {
  EXPECT_THAT(WithoutTheHighest({4.0, 1.0, 3.0, 2.0}, 0.2), ElementsAre(1, 2, 3));  // below 3.4
  EXPECT_THAT(WithoutTheHighest({4.0, 1.0, 3.0, 2.0}, 0.5), ElementsAre(1, 3));     // below 2.5
  EXPECT_THAT(WithoutTheHighest({4.0, 1.0, 3.0, 2.0}, 0.0), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(WithoutTheHighest({2.0, 2.0, 2.0, 2.0, 2.0}, 0.2), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(WithoutTheHighest({2.0, 9.0, 2.0, 9.0, 2.0}, 0.2), ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(WithoutTheHighest({1.0, std::nan(""), 5.0, 2.0, 3.0}, 0.2), ElementsAre(0, 2, 3, 4));
  EXPECT_THAT(WithoutTheHighest({7.0}, 0.8), ElementsAre(0));
  EXPECT_THAT(WithoutTheHighest({}, 0.2), ElementsAre());
}

// A model that takes the likeliest tokens writes equal texts after equal prefixes; a fifth of them goes, and no more.
TEST_F(GeneratedSources, EqualPerplexitiesLoseTheirShareAlone) {
  const auto full = model_.write;
  model_.write = [&](const GenerationRequest& request, int64_t i) {
    ScoredSequence sequence = full(request, i);
    sequence.negative_log_likelihood = 2.0;
    return sequence;
  };
  auto calibration = Calibration("{sources: [{prefix_generated: {prefixes: {uri: " + WriteDocuments(30, 6) +
                                 "}, texts: 10, drop_share: 0.2}}], samples: 4, sequence_length: 16}");
  const auto tokens = MakeCalibrationTokens(calibration, ModelContext());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->parts[0].documents(), 10);
  EXPECT_EQ(tokens->parts[0].filtered(), 2);
}

// A text that ended before anything was predicted is none of the likeliest.
TEST_F(GeneratedSources, EmptyTextsAreDroppedFirst) {
  const auto full = model_.write;
  model_.write = [&](const GenerationRequest& request, int64_t i) {
    if (i == 3) return ScoredSequence{{1}, 0.0, 0};
    return full(request, i);
  };
  auto calibration =
      Calibration("{sources: [{prefix_generated: {prefixes: {uri: " + WriteDocuments(30, 6) +
                  "}, max_new_tokens: 14, texts: 5, drop_share: 0.2}}], samples: 1, sequence_length: 16}");
  ASSERT_TRUE(MakeCalibrationTokens(calibration, ModelContext()).ok());
  std::vector<int64_t> expected;
  for (const int i : {0, 1, 2, 4}) {
    const auto text = tokenizer_->Decode(full(model_.requests[0], i).ids, true);
    ASSERT_TRUE(text.ok());
    const auto ids = Encode(*text);
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  calibration.set_sequence_length(static_cast<int>(expected.size()));
  const auto tokens = MakeCalibrationTokens(calibration, ModelContext());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->ids, expected);
  EXPECT_EQ(tokens->parts[0].filtered(), 1);
}

TEST_F(GeneratedSources, FilterOfWhatTheModelWrites) {
  // Every third sequence is the same, and of the others every other one is unlikely.
  const auto full = model_.write;
  model_.write = [&](const GenerationRequest& request, int64_t i) {
    ScoredSequence sequence = full(request, i);
    const auto stream = static_cast<int64_t>(request.first_stream & 0xffffffff) + i;
    for (size_t k = 1; k < sequence.ids.size(); ++k) sequence.ids[k] = stream % 3 == 0 ? 77 : 500 + stream;
    return sequence;
  };
  model_.score = [](const std::vector<int64_t>& ids) { return ids.at(1) % 2 == 0 ? 4.0 : 400.0; };
  auto calibration = Calibration(
      "{sources: [{self_generated: {}, filter: {exact_duplicates: true, max_perplexity: 50}}], samples: 6, "
      "sequence_length: 16}");
  const auto tokens = MakeCalibrationTokens(calibration, ModelContext());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->sequences, 6);
  std::set<std::vector<int64_t>> rows;
  for (int i = 0; i < 6; ++i) rows.emplace(tokens->ids.begin() + 16 * i, tokens->ids.begin() + 16 * (i + 1));
  EXPECT_EQ(rows.size(), 6u);
  for (const auto& row : rows) EXPECT_EQ(row[1] % 2, 0) << row[1];
  EXPECT_EQ(tokens->parts[0].documents() - tokens->parts[0].filtered(), 6);

  calibration.mutable_sources(0)->mutable_filter()->set_min_tokens(17);
  EXPECT_THAT(Error(calibration, ModelContext()),
              AllOf(HasSubstr("self_generated gave 0 of 6"), HasSubstr("with fewer than 17 tokens")));
}

// The filter goes before the share that is dropped, and asks the model for each text once, however many rounds there
// are.
TEST_F(GeneratedSources, FilterOfTextsAfterPrefixes) {
  const auto full = model_.write;
  model_.write = [&](const GenerationRequest& request, int64_t i) {
    ScoredSequence sequence = full(request, i);
    sequence.ids.resize(request.tokens / 4);
    return sequence;
  };
  model_.score = [](const std::vector<int64_t>& ids) { return ids.back() % 2 == 0 ? 4.0 : 400.0; };
  auto calibration = Calibration("{sources: [{prefix_generated: {prefixes: {uri: " + WriteDocuments(300, 6) +
                                 "}, drop_share: 0}, filter: {max_perplexity: 50}}], samples: 4, sequence_length: 64}");
  const auto tokens = MakeCalibrationTokens(calibration, ModelContext());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  ASSERT_GE(model_.requests.size(), 2u);
  const int64_t written = tokens->parts[0].documents();
  EXPECT_EQ(tokens->parts[0].filtered(), (written + 1) / 2);  // those of odd streams, from 1
  EXPECT_EQ(model_.scored, written);

  calibration.mutable_sources(0)->mutable_filter()->set_max_perplexity(1);
  EXPECT_THAT(Error(calibration, ModelContext()), AllOf(HasSubstr("with a perplexity above 1")));
}

}  // namespace
}  // namespace calipress::calibration
