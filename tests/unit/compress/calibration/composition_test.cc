#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/calibration/source.h"
#include "compress/recipe/recipe.h"
#include "tests/unit/compress/calibration/testing_files.h"

namespace calipress::calibration {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CompositionTest : public FileTest {
 protected:
  void SetUp() override {
    FileTest::SetUp();
    first_ = WriteStories("first.jsonl", "hares", 30);
    second_ = WriteStories("second.jsonl", "foxes", 30);
  }

  std::string WriteStories(const std::string& name, const std::string& who, int count) {
    std::string rows;
    for (int i = 0; i < count; ++i) {
      std::string text = absl::StrCat("Story ", i, ":");
      for (int k = 0; k < 12; ++k) absl::StrAppend(&text, " the ", i, " ", who);
      absl::StrAppend(&rows, "{\"text\": \"", text, "\"}\n");
    }
    return Write(name, rows);
  }

  // As the worker gets it: parsed and resolved.
  static v1::Calibration Resolved(const std::string& yaml) {
    const auto recipe = recipe::ParseYaml(absl::StrCat("calibration: ", yaml));
    EXPECT_TRUE(recipe.ok()) << recipe.status();
    arch::ArchSpec spec;
    spec.max_positions = 256;
    return recipe::Resolve(*recipe, spec).calibration();
  }

  TokenMatrix Make(const std::string& yaml) {
    auto tokens = MakeCalibrationTokens(Resolved(yaml), Context());
    EXPECT_TRUE(tokens.ok()) << yaml << tokens.status();
    return tokens.ok() ? *std::move(tokens) : TokenMatrix();
  }

  std::string ErrorOf(const std::string& yaml, std::string_view reason = "INVALID_CALIBRATION_DATA") {
    const auto tokens = MakeCalibrationTokens(Resolved(yaml), Context());
    EXPECT_EQ(ErrorReason(tokens.status()), reason) << yaml << tokens.status();
    return std::string(tokens.status().message());
  }

  std::string Text(const std::string& uri, const std::string& rest = "") const {
    return absl::StrCat("{text: {uri: ", uri, ", layout: window}", rest, "}");
  }

  static std::vector<int64_t> Rows(const TokenMatrix& tokens, int64_t begin, int64_t count) {
    return {tokens.ids.begin() + begin * tokens.length, tokens.ids.begin() + (begin + count) * tokens.length};
  }

  std::string first_;
  std::string second_;
};

TEST_F(CompositionTest, SourcesFollowOneAnotherEachWithItsShareAndSeed) {
  const TokenMatrix set = Make(absl::StrCat("{samples: 9, sequence_length: 20, seed: 40, sources: [",
                                            Text(first_, ", weight: 2, domain: law"), ", ",
                                            Text(second_, ", samples: 3"), ", {random_vocabulary: {}, seed: 7}]}"));
  EXPECT_EQ(set.sequences, 12);
  ASSERT_EQ(set.parts.size(), 3u);
  EXPECT_EQ(set.parts[0].kind(), "text");
  EXPECT_EQ(set.parts[0].uri(), first_);
  EXPECT_EQ(set.parts[0].domain(), "law");
  EXPECT_EQ(set.parts[0].sequences(), 6);
  EXPECT_EQ(set.parts[0].tokens(), 120);
  EXPECT_EQ(set.parts[0].documents(), 6);
  EXPECT_EQ(set.parts[0].seed(), 40u);
  EXPECT_EQ(set.parts[1].domain(), "general");
  EXPECT_EQ(set.parts[1].sequences(), 3);
  EXPECT_EQ(set.parts[1].seed(), 41u);
  EXPECT_EQ(set.parts[2].kind(), "random_vocabulary");
  EXPECT_EQ(set.parts[2].uri(), "");
  EXPECT_EQ(set.parts[2].sequences(), 3);
  EXPECT_EQ(set.parts[2].seed(), 7u);

  // Each is what it would be alone.
  const TokenMatrix law =
      Make(absl::StrCat("{samples: 6, sequence_length: 20, seed: 40, sources: [", Text(first_), "]}"));
  const TokenMatrix foxes =
      Make(absl::StrCat("{samples: 3, sequence_length: 20, seed: 41, sources: [", Text(second_), "]}"));
  const TokenMatrix random = Make("{samples: 3, sequence_length: 20, seed: 7, sources: [{random_vocabulary: {}}]}");
  EXPECT_EQ(Rows(set, 0, 6), law.ids);
  EXPECT_EQ(Rows(set, 6, 3), foxes.ids);
  EXPECT_EQ(Rows(set, 9, 3), random.ids);
}

TEST_F(CompositionTest, ASourceOfWeightZeroGivesNothingAndIsTold) {
  const TokenMatrix set = Make(absl::StrCat("{samples: 2, sequence_length: 20, sources: [",
                                            Text("none.jsonl", ", weight: 0"), ", ", Text(second_), "]}"));
  EXPECT_EQ(set.sequences, 2);
  ASSERT_EQ(set.parts.size(), 2u);
  EXPECT_EQ(set.parts[0].sequences(), 0);
  EXPECT_EQ(set.parts[1].sequences(), 2);
}

TEST_F(CompositionTest, IdsBesideOtherSourcesHaveTheSetsLength) {
  const std::string ids = Write("ids.npy", FormatNpy({2, 3, {1, 2, 3, 4, 5, 6}}));
  const std::string longer = Write("longer.npy", FormatNpy({1, 4, {1, 2, 3, 4}}));
  const TokenMatrix set = Make(absl::StrCat("{samples: 1, sequence_length: 3, sources: [", Text(first_),
                                            ", {token_ids: {uri: ", ids, "}, samples: 2}]}"));
  EXPECT_EQ(Rows(set, 1, 2), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(set.parts[1].documents(), 2);
  EXPECT_THAT(ErrorOf(absl::StrCat("{samples: 1, sequence_length: 5, sources: [", Text(first_),
                                   ", {token_ids: {uri: ", ids, "}, samples: 2}]}")),
              AllOf(HasSubstr("calibration.sources[1]"), HasSubstr("sequences of 3 tokens"), HasSubstr("is 5")));
  EXPECT_THAT(ErrorOf(absl::StrCat("{sources: [{token_ids: {uri: ", ids, "}}, {token_ids: {uri: ", longer, "}}]}")),
              HasSubstr("sequences of 4 tokens, and the sources before it of 3"));
  // Files of ids alone: all rows of each.
  EXPECT_EQ(Make(absl::StrCat("{sources: [{token_ids: {uri: ", ids, "}}, {token_ids: {uri: ", ids, "}}]}")).sequences,
            4);
}

TEST_F(CompositionTest, DrawsOfOneSeedShareNoDocument) {
  // Windows of a whole document each are told apart by their number.
  std::map<std::vector<int64_t>, int> drawn;
  for (int index = 0; index < 3; ++index) {
    const TokenMatrix set = Make(absl::StrCat("{samples: 10, sequence_length: 20, seed: 3, draw: {index: ", index,
                                              ", of: 3}, sources: [", Text(first_), "]}"));
    ASSERT_EQ(set.parts[0].documents(), 10);
    for (int row = 0; row < 10; ++row) ++drawn[Rows(set, row, 1)];
  }
  // 3 x 10 of 30 documents: each once.
  EXPECT_EQ(drawn.size(), 30u);
  // Draw 0 has the documents at places 0, 3, 6 ... of the order without draws.
  const TokenMatrix all =
      Make(absl::StrCat("{samples: 30, sequence_length: 20, seed: 3, sources: [", Text(first_), "]}"));
  const TokenMatrix zero = Make(absl::StrCat(
      "{samples: 10, sequence_length: 20, seed: 3, draw: {index: 0, of: 3}, sources: [", Text(first_), "]}"));
  for (int row = 0; row < 10; ++row) EXPECT_EQ(Rows(zero, row, 1), Rows(all, 3 * row, 1));
  EXPECT_EQ(
      Make(absl::StrCat("{samples: 30, sequence_length: 20, seed: 3, draw: {of: 1}, sources: [", Text(first_), "]}"))
          .ids,
      all.ids);

  EXPECT_THAT(ErrorOf(absl::StrCat("{samples: 11, sequence_length: 20, draw: {index: 1, of: 3}, sources: [",
                                   Text(first_), "]}")),
              AllOf(HasSubstr("in draw 1 (from 0) of 3"), HasSubstr("11 windows of 20"), HasSubstr("10 of its 10")));
  EXPECT_THAT(ErrorOf(absl::StrCat("{samples: 1, sequence_length: 20, draw: {index: 1, of: 31}, sources: [",
                                   Text(first_), "]}")),
              HasSubstr("has 30 documents, which 31 disjoint draws cannot share"));
}

TEST_F(CompositionTest, DrawsOfRowsShareNone) {
  TokenMatrix rows{7, 2, {}};
  for (int64_t i = 0; i < 14; ++i) rows.ids.push_back(i / 2);
  const std::string ids = Write("ids.npy", FormatNpy(rows));
  std::multiset<int64_t> seen;
  for (int index = 0; index < 2; ++index) {
    const TokenMatrix set =
        Make(absl::StrCat("{seed: 1, draw: {index: ", index, ", of: 2}, sources: [{token_ids: {uri: ", ids, "}}]}"));
    EXPECT_EQ(set.sequences, index == 0 ? 4 : 3);
    for (int64_t row = 0; row < set.sequences; ++row) seen.insert(set.ids[row * 2]);
  }
  EXPECT_THAT(seen, ElementsAre(0, 1, 2, 3, 4, 5, 6));
  EXPECT_THAT(ErrorOf(absl::StrCat("{samples: 4, draw: {index: 1, of: 2}, sources: [{token_ids: {uri: ", ids, "}}]}")),
              AllOf(HasSubstr("has 3 sequences in draw 1 (from 0) of 2"), HasSubstr("and 4 are asked for")));
  EXPECT_THAT(ErrorOf(absl::StrCat("{samples: 1, draw: {of: 8}, sources: [{token_ids: {uri: ", ids, "}}]}")),
              HasSubstr("8 disjoint draws cannot share"));
}

TEST_F(CompositionTest, RandomVocabularyHasNoSpecialTokens) {
  const TokenMatrix set = Make("{samples: 64, sequence_length: 256, seed: 3, sources: [{random_vocabulary: {}}]}");
  std::map<int64_t, int> counts;
  for (const int64_t id : set.ids) ++counts[id];
  for (const int64_t special : {0, 1, 2}) EXPECT_EQ(counts.count(special), 0u) << special;
  // Of 16384 draws from 4093 ids each is missed with probability exp(-4): about 75 are.
  EXPECT_NEAR(static_cast<double>(counts.size()), 4093 * (1 - std::exp(-16384.0 / 4093)), 40);
  EXPECT_EQ(counts.rbegin()->first < 4096, true);
  for (const auto& [id, count] : counts) EXPECT_LT(count, 20) << id;

  const TokenMatrix fewer = Make("{samples: 3, sequence_length: 256, seed: 3, sources: [{random_vocabulary: {}}]}");
  EXPECT_EQ(fewer.ids, Rows(set, 0, 3));
  const TokenMatrix second =
      Make("{samples: 3, sequence_length: 256, seed: 3, draw: {index: 1, of: 2}, sources: [{random_vocabulary: {}}]}");
  EXPECT_EQ(Rows(second, 0, 1), Rows(set, 1, 1));
  EXPECT_EQ(Rows(second, 1, 1), Rows(set, 3, 1));
}

TEST_F(CompositionTest, NamesTheSourceThatFails) {
  EXPECT_THAT(ErrorOf(absl::StrCat("{samples: 2, sequence_length: 20, sources: [", Text(first_), ", ",
                                   Text(Write("bad.jsonl", "{\"text\": \"a\"}\n{\"body\": \"a\"}\n")), "]}")),
              AllOf(HasSubstr("calibration.sources[1]"), HasSubstr("bad.jsonl"), HasSubstr("line 2")));
}

}  // namespace
}  // namespace calipress::calibration
