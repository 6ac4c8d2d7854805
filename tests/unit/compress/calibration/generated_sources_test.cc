// Sources that the model writes, with a model that writes what the test says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "compress/calibration/stop_words.h"
#include "tests/unit/compress/calibration/testing_generated.h"

namespace calipress::calibration {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(GeneratedSources, SelfGeneratedAsksForSequencesFromTheFirstToken) {
  auto calibration = Calibration(
      "{sources: [{self_generated: {initial_temperature: 2.0, schedule_tokens: 5, top_k: 9, top_p: 0.5}}], samples: 6, "
      "sequence_length: 32, seed: 77}");
  const auto tokens = MakeCalibrationTokens(calibration, ModelContext());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->sequences, 6);
  EXPECT_EQ(tokens->length, 32);
  EXPECT_EQ(tokens->ids.size(), 6u * 32);
  ASSERT_EQ(model_.requests.size(), 1u);
  const GenerationRequest& request = model_.requests[0];
  EXPECT_EQ(request.prompts, (std::vector<std::vector<int64_t>>(6, {1})));
  EXPECT_EQ(request.seed, 77u);
  EXPECT_EQ(request.first_stream, 0u);
  EXPECT_EQ(request.tokens, 32);
  EXPECT_EQ(request.initial_temperature, 2.0);
  EXPECT_EQ(request.final_temperature, 1.0);
  EXPECT_EQ(request.schedule_tokens, 5);
  EXPECT_EQ(request.top_k, 9);
  EXPECT_EQ(request.top_p, 0.5);
  EXPECT_EQ(request.repetition_penalty, 1.0);
  EXPECT_TRUE(request.restart);
  EXPECT_THAT(request.end_ids, ElementsAre(2));
  EXPECT_TRUE(request.first_ids.empty());

  calibration.mutable_draw()->set_index(3);
  calibration.mutable_draw()->set_of(5);
  ASSERT_TRUE(MakeCalibrationTokens(calibration, ModelContext()).ok());
  EXPECT_EQ(model_.requests[1].first_stream, uint64_t{3} << 32);
}

TEST_F(GeneratedSources, StopWordsAreSingleTokens) {
  const auto ids = StopWordIds(*tokenizer_);
  ASSERT_TRUE(ids.ok()) << ids.status();
  std::set<std::string> words;
  for (const int64_t id : *ids) {
    const auto text = tokenizer_->Decode({id}, false);
    ASSERT_TRUE(text.ok());
    words.insert(*text);
  }
  EXPECT_TRUE(words.contains("The") || words.contains(" The"));
  EXPECT_TRUE(words.contains("the") || words.contains(" the"));
  EXPECT_FALSE(words.contains("bunny"));
  auto calibration =
      Calibration("{sources: [{self_generated: {first_tokens: stop_words}}], samples: 2, sequence_length: 8}");
  ASSERT_TRUE(MakeCalibrationTokens(calibration, ModelContext()).ok());
  EXPECT_EQ(model_.requests[0].first_ids, *ids);
}

TEST_F(GeneratedSources, WithoutABeginningThereIsNoText) {
  SourceContext context = ModelContext();
  context.begin_id.reset();
  EXPECT_THAT(Error(Calibration("{sources: [{self_generated: {}}], samples: 2, sequence_length: 8}"), context),
              AllOf(HasSubstr("bos_token_id"), HasSubstr("prefix_generated")));
  EXPECT_THAT(Error(Calibration("{sources: [{self_generated: {}}], samples: 2, sequence_length: 300}"), ModelContext()),
              HasSubstr("256 positions"));
}

TEST_F(GeneratedSources, PrefixesAreTheBeginningsOfDocuments) {
  const std::string uri = WriteDocuments(30, 6);
  auto calibration =
      Calibration("{sources: [{prefix_generated: {prefixes: {uri: " + uri +
                  "}, prefix_tokens: 4, texts: 10, drop_share: 0.5}}], samples: 4, sequence_length: 16}");
  const auto tokens = MakeCalibrationTokens(calibration, ModelContext());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  ASSERT_EQ(model_.requests.size(), 1u);
  const GenerationRequest& request = model_.requests[0];
  EXPECT_EQ(request.sequences, 10);
  EXPECT_EQ(request.first_stream, 1u);
  EXPECT_EQ(request.tokens, 16);
  EXPECT_FALSE(request.restart);
  std::set<std::vector<int64_t>> prefixes(request.prompts.begin(), request.prompts.end());
  std::set<std::vector<int64_t>> beginnings;
  for (int i = 0; i < 30; ++i) {
    std::vector<int64_t> ids = Encode(absl::StrCat("Story ", i, " and more and more and more"));
    ids.resize(4);
    beginnings.insert(ids);
  }
  for (const auto& prefix : prefixes) EXPECT_TRUE(beginnings.contains(prefix));

  // The five texts of the lower half, decoded and tokenized again, end to end.
  std::vector<int64_t> expected;
  for (int i = 0; i < 5; ++i) {
    const auto text = tokenizer_->Decode(model_.write(request, i).ids, true);
    ASSERT_TRUE(text.ok());
    const auto ids = Encode(*text);
    expected.insert(expected.end(), ids.begin(), ids.end());
  }
  ASSERT_GE(expected.size(), 64u);
  expected.resize(64);
  EXPECT_EQ(tokens->ids, expected);
}

TEST_F(GeneratedSources, WindowsAreOfAllTextsJoined) {
  const std::string uri = WriteDocuments(30, 6);
  auto calibration =
      Calibration("{sources: [{prefix_generated: {prefixes: {uri: " + uri +
                  ", layout: window}, texts: 4, drop_share: 0}}], samples: 20, sequence_length: 16, seed: 5}");
  const auto tokens = MakeCalibrationTokens(calibration, ModelContext());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  std::string joined;
  for (int i = 0; i < 4; ++i) {
    absl::StrAppend(&joined, i == 0 ? "" : " ", *tokenizer_->Decode(model_.write(model_.requests[0], i).ids, true));
  }
  const std::vector<int64_t> row = Encode(joined);
  std::set<std::vector<int64_t>> windows;
  for (size_t i = 0; i + 16 <= row.size(); ++i) windows.emplace(row.begin() + i, row.begin() + i + 16);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(windows.contains({tokens->ids.begin() + 16 * i, tokens->ids.begin() + 16 * (i + 1)})) << i;
  }
}

TEST_F(GeneratedSources, WritesUntilTheSamplesAreFull) {
  const std::string uri = WriteDocuments(200, 6);
  const auto full = model_.write;
  // Texts of a quarter of what they could have.
  model_.write = [&](const GenerationRequest& request, int64_t i) {
    ScoredSequence sequence = full(request, i);
    sequence.ids.resize(request.tokens / 4);
    return sequence;
  };
  auto calibration =
      Calibration("{sources: [{prefix_generated: {prefixes: {uri: " + uri + "}}}], samples: 8, sequence_length: 64}");
  const auto tokens = MakeCalibrationTokens(calibration, ModelContext());
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->ids.size(), 8u * 64);
  ASSERT_GE(model_.requests.size(), 2u);
  EXPECT_EQ(model_.requests[1].first_stream, 1u + model_.requests[0].sequences);
  // No document twice.
  std::set<std::vector<int64_t>> seen;
  size_t count = 0;
  calibration.mutable_sources(0)->mutable_prefix_generated()->set_prefix_tokens(5);
  calibration.mutable_sources(0)->mutable_prefix_generated()->set_max_new_tokens(59);
  model_.requests.clear();
  ASSERT_TRUE(MakeCalibrationTokens(calibration, ModelContext()).ok());
  for (const auto& request : model_.requests) {
    for (const auto& prompt : request.prompts) ++count, seen.insert(prompt);
  }
  EXPECT_GE(seen.size() + 10, count);  // beginnings of different documents may be equal, but few are
}

TEST_F(GeneratedSources, DrawsShareNoDocument) {
  const std::string uri = WriteDocuments(40, 6);
  std::vector<std::set<std::vector<int64_t>>> prompts;
  for (int index = 0; index < 2; ++index) {
    auto calibration = Calibration("{sources: [{prefix_generated: {prefixes: {uri: " + uri +
                                   "}, prefix_tokens: 6, texts: 20}}], samples: 2, sequence_length: 64}");
    calibration.mutable_draw()->set_index(index);
    calibration.mutable_draw()->set_of(2);
    ASSERT_TRUE(MakeCalibrationTokens(calibration, ModelContext()).ok());
    prompts.emplace_back(model_.requests.back().prompts.begin(), model_.requests.back().prompts.end());
    EXPECT_EQ(model_.requests.back().first_stream, (static_cast<uint64_t>(index) << 32) + 1);
  }
  for (const auto& prompt : prompts[0]) EXPECT_FALSE(prompts[1].contains(prompt));
}

TEST_F(GeneratedSources, TooFewDocumentsAreCounted) {
  std::string rows;
  for (int i = 0; i < 5; ++i) rows += "{\"text\": \"Hi\"}\n{\"text\": \"A longer story about hares and more\"}\n";
  const std::string uri = Write("short.jsonl", rows);
  EXPECT_THAT(Error(Calibration("{sources: [{prefix_generated: {prefixes: {uri: " + uri +
                                "}, prefix_tokens: 6, texts: 8}}], samples: 2, sequence_length: 64}"),
                    ModelContext()),
              AllOf(HasSubstr("10 documents"), HasSubstr("5 of them shorter than the 6 tokens"), HasSubstr("8 are")));
  EXPECT_THAT(Error(Calibration("{sources: [{prefix_generated: {prefixes: {uri: " + uri +
                                "}, texts: 4}}], samples: 64, sequence_length: 64}"),
                    ModelContext()),
              AllOf(HasSubstr("raise texts"), HasSubstr("4096")));
}

}  // namespace
}  // namespace calipress::calibration
