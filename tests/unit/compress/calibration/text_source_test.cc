#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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
using ::testing::HasSubstr;

class TextSourceTest : public FileTest {
 protected:
  // 40 documents that no two agree in, of 6 to over 200 tokens.
  void SetUp() override {
    FileTest::SetUp();
    std::string rows;
    for (int i = 0; i < 40; ++i) {
      std::string text = absl::StrCat("Story ", i, ":");
      for (int k = 0; k < 3 * i; ++k) absl::StrAppend(&text, " the ", i, " hares");
      documents_.push_back(text);
      absl::StrAppend(&rows, "{\"text\": \"", text, "\"}\n");
    }
    uri_ = Write("train.jsonl", rows);
  }

  v1::Calibration Calibration(int samples, int length, uint64_t seed, v1::TextLayout layout) const {
    v1::Calibration calibration;
    v1::TextSource* text = calibration.add_sources()->mutable_text();
    text->set_uri(uri_);
    text->set_field("text");
    text->set_layout(layout);
    calibration.set_samples(samples);
    calibration.set_sequence_length(length);
    calibration.set_seed(seed);
    return calibration;
  }

  TokenMatrix Make(int samples, int length, uint64_t seed, v1::TextLayout layout = v1::TEXT_LAYOUT_PACK) {
    auto tokens = MakeCalibrationTokens(Calibration(samples, length, seed, layout), Context());
    EXPECT_TRUE(tokens.ok()) << tokens.status();
    return tokens.ok() ? *std::move(tokens) : TokenMatrix();
  }

  std::string ErrorOf(const v1::Calibration& calibration, SourceContext context,
                      std::string_view reason = "INVALID_CALIBRATION_DATA") {
    const auto tokens = MakeCalibrationTokens(calibration, context);
    EXPECT_EQ(ErrorReason(tokens.status()), reason) << tokens.status();
    return std::string(tokens.status().message());
  }

  std::vector<std::string> documents_;
  std::string uri_;
};

TEST_F(TextSourceTest, TheSeedDecides) {
  for (const auto layout : {v1::TEXT_LAYOUT_PACK, v1::TEXT_LAYOUT_WINDOW}) {
    const TokenMatrix tokens = Make(8, 64, 7, layout);
    EXPECT_EQ(tokens.sequences, 8);
    EXPECT_EQ(tokens.length, 64);
    ASSERT_EQ(tokens.ids.size(), 8u * 64);
    EXPECT_EQ(Make(8, 64, 7, layout).ids, tokens.ids);
    EXPECT_EQ(Fingerprint(Make(8, 64, 7, layout)), Fingerprint(tokens));
    EXPECT_NE(Make(8, 64, 8, layout).ids, tokens.ids);
    EXPECT_NE(Fingerprint(Make(8, 64, 8, layout)), Fingerprint(tokens));
  }
}

// Pins the bytes: the same recipe and files give the same ids on any machine, in any version. The values were computed
// outside this code too, by the tokenizers package and a Philox4x32-10 in Python.
TEST_F(TextSourceTest, IdsStayWhatTheyAre) {
  EXPECT_EQ(Fingerprint(Make(8, 64, 7, v1::TEXT_LAYOUT_PACK)),
            "b9f5c9d77626da35ef683432ac4797a35e6f24921f9a08c99a6c9337bd2a69e3");
  EXPECT_EQ(Fingerprint(Make(8, 64, 7, v1::TEXT_LAYOUT_WINDOW)),
            "67dfe5dc938418f3530bc0fdd35ae04ab9d02f7b3245f7472a764dd12f053293");
}

TEST_F(TextSourceTest, PackUsesEveryDocumentOnceInShuffledOrder) {
  size_t total = 0;
  std::map<std::vector<int64_t>, int> index;
  for (size_t i = 0; i < documents_.size(); ++i) {
    const std::vector<int64_t> ids = Encode(documents_[i]);
    EXPECT_EQ(ids[0], 1);  // <s>
    total += ids.size();
    index[ids] = static_cast<int>(i);
  }
  ASSERT_EQ(index.size(), documents_.size());
  // All there is, but for less than one sequence: cut at <s> into documents, they are the given ones, each once.
  const int length = 7;
  const TokenMatrix tokens = Make(static_cast<int>(total / length), length, 3);
  std::vector<int> order;
  std::vector<int64_t> document;
  for (size_t i = 0; i <= tokens.ids.size(); ++i) {
    if (i == tokens.ids.size() || tokens.ids[i] == 1) {
      const bool cut = i == tokens.ids.size() && !index.count(document);
      if (!document.empty() && !cut) {
        ASSERT_TRUE(index.count(document)) << order.size();
        order.push_back(index[document]);
      }
      document.clear();
    }
    if (i < tokens.ids.size()) document.push_back(tokens.ids[i]);
  }
  EXPECT_GE(order.size(), documents_.size() - 2);
  EXPECT_EQ(std::set<int>(order.begin(), order.end()).size(), order.size());
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(TextSourceTest, WindowsComeFromDocumentsThatAreLongEnoughEachOnce) {
  const int length = 50;
  std::set<int> starts_seen;
  std::vector<std::vector<int64_t>> encoded;
  int long_enough = 0;
  for (const std::string& text : documents_) {
    encoded.push_back(Encode(text));
    long_enough += encoded.back().size() >= static_cast<size_t>(length);
  }
  ASSERT_GT(long_enough, 10);
  ASSERT_LT(long_enough, 40);
  const TokenMatrix tokens = Make(long_enough, length, 1, v1::TEXT_LAYOUT_WINDOW);
  std::set<int> used;
  for (int row = 0; row < long_enough; ++row) {
    const auto begin = tokens.ids.begin() + row * length;
    for (size_t i = 0; i < encoded.size(); ++i) {
      const auto at = std::search(encoded[i].begin(), encoded[i].end(), begin, begin + length);
      if (at == encoded[i].end()) continue;
      used.insert(static_cast<int>(i));
      starts_seen.insert(static_cast<int>(at - encoded[i].begin()));
    }
  }
  EXPECT_EQ(used.size(), static_cast<size_t>(long_enough));
  EXPECT_GT(starts_seen.size(), 3u);  // not always the first tokens

  EXPECT_THAT(ErrorOf(Calibration(long_enough + 1, length, 1, v1::TEXT_LAYOUT_WINDOW), Context()),
              AllOf(HasSubstr(absl::StrCat(long_enough + 1, " windows of 50 tokens")),
                    HasSubstr(absl::StrCat("and ", long_enough, " of its 40 documents have it")),
                    HasSubstr("layout: pack"), HasSubstr("train.jsonl")));
}

TEST_F(TextSourceTest, TooLittleTextSaysHowMuchThereIs) {
  size_t total = 0;
  for (const std::string& text : documents_) total += Encode(text).size();
  EXPECT_THAT(ErrorOf(Calibration(1000, 200, 0, v1::TEXT_LAYOUT_PACK), Context()),
              AllOf(HasSubstr("train.jsonl has too little text"), HasSubstr("need 200000 tokens"),
                    HasSubstr(absl::StrCat("its 40 documents have ", total)),
                    HasSubstr(absl::StrCat("lower calibration.samples to ", total / 200))));
  uri_ = Write("short.txt", "word");
  EXPECT_THAT(ErrorOf(Calibration(1, 200, 0, v1::TEXT_LAYOUT_PACK), Context()),
              HasSubstr("or lower calibration.sequence_length"));
}

TEST_F(TextSourceTest, ChecksAgainstTheModel) {
  SourceContext context = Context();
  EXPECT_THAT(ErrorOf(Calibration(1, 257, 0, v1::TEXT_LAYOUT_PACK), context), HasSubstr("256 positions"));
  context.vocabulary = 100;
  EXPECT_THAT(ErrorOf(Calibration(8, 64, 0, v1::TEXT_LAYOUT_PACK), context, "SOURCE_MODEL_CORRUPT"),
              AllOf(HasSubstr("vocabulary has 100"), HasSubstr("not this model's")));
  SourceContext without = Context();
  without.tokenizer = nullptr;
  EXPECT_THAT(ErrorOf(Calibration(8, 64, 0, v1::TEXT_LAYOUT_PACK), without, "INTERNAL"), HasSubstr("tokenizer"));
}

// The demo's text is enough for the preset's 128 samples of the carried model's context.
TEST_F(TextSourceTest, CarriedTextIsEnoughForThePreset) {
  uri_ = std::string(CALIPRESS_SOURCE_DIR) + "/tests/data/calibration.jsonl";
  const TokenMatrix tokens = Make(128, 256, 0);
  EXPECT_EQ(tokens.ids.size(), 128u * 256);
}

class EvaluationTest : public FileTest {
 protected:
  absl::StatusOr<TokenMatrix> Make(const std::string& uri, int length, int max_windows = 0) {
    v1::Perplexity perplexity;
    perplexity.set_name("test");
    perplexity.set_uri(uri);
    perplexity.set_field("text");
    perplexity.set_sequence_length(length);
    perplexity.set_max_windows(max_windows);
    return MakeEvaluationTokens(perplexity, Context());
  }
};

TEST_F(EvaluationTest, JoinsTokenizesOnceAndCuts) {
  const std::string rows =
      Write("t.jsonl", "{\"text\": \"One day a fox came.\"}\n{\"text\": \"It was red, and so on.\"}\n");
  const std::string text = "One day a fox came.\n\nIt was red, and so on.";
  const std::vector<int64_t> ids = Encode(text);
  ASSERT_GT(ids.size(), 12u);
  for (const std::string& uri : {rows, Write("t.txt", text)}) {
    const auto tokens = Make(uri, 5);
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_EQ(tokens->length, 5);
    EXPECT_EQ(tokens->sequences, static_cast<int64_t>(ids.size() / 5));
    EXPECT_EQ(tokens->ids, std::vector<int64_t>(ids.begin(), ids.begin() + ids.size() / 5 * 5));
    EXPECT_EQ(std::count(tokens->ids.begin(), tokens->ids.end(), 1), 1);  // one <s>, at the very start
  }
  const auto two = Make(rows, 5, 2);
  ASSERT_TRUE(two.ok());
  EXPECT_EQ(two->sequences, 2);
  EXPECT_EQ(two->ids.size(), 10u);
}

// WikiText's rows (methods.md 8.1): those that are empty stand between joints too, packed or not.
TEST_F(EvaluationTest, EmptyRowsAreJoinedToo) {
  const std::string joined = Write("joined.txt", "\n\n = A = \n\n\n");
  const std::string rows = "{\"text\": \"\"}\n{\"text\": \" = A = \\n\"}\n\n{\"text\": \"\"}\n";
  const auto expected = Make(joined, 4);
  const auto tokens = Make(Write("rows.jsonl", rows), 4);
  ASSERT_TRUE(expected.ok() && tokens.ok()) << expected.status() << tokens.status();
  EXPECT_EQ(tokens->ids, expected->ids);
  // A row of Parquet without a value is an empty one.
  const std::string packed = std::string(CALIPRESS_SOURCE_DIR) + "/tests/unit/compress/calibration/packed/";
  const std::string text = "One day a fox came.\n\n\n\nIt was red, and so on. \xC3\xA4\xE2\x82\xAC\n\nThe end.";
  for (const char* name : {"rows.jsonl.gz", "rows.jsonl.zst", "rows.jsonl.xz", "rows.parquet", "coded.parquet"}) {
    const bool parquet = std::string_view(name).ends_with("parquet");
    const std::vector<int64_t> ids = Encode(parquet ? text + "\n\n" : text);
    const auto all = Make(packed + name, static_cast<int>(ids.size()));
    ASSERT_TRUE(all.ok()) << name << all.status();
    EXPECT_EQ(all->ids, ids) << name;
  }
}

TEST_F(EvaluationTest, TextFilesAreTakenAsTheyAre) {
  const std::string text = "a  b \n\n\n\n c\r\n\r\nd\n";
  const std::vector<int64_t> ids = Encode(text);
  const auto tokens = Make(Write("t.txt", text), static_cast<int>(ids.size()));
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->ids, ids);
}

TEST_F(EvaluationTest, SaysWhatIsWrong) {
  const auto error = [](const absl::StatusOr<TokenMatrix>& tokens) {
    EXPECT_EQ(ErrorReason(tokens.status()), "INVALID_CALIBRATION_DATA") << tokens.status();
    return std::string(tokens.status().message());
  };
  EXPECT_THAT(error(Make(Write("t.txt", "few words"), 200)),
              AllOf(HasSubstr("t.txt has too little text"), HasSubstr("needs 200 tokens")));
  EXPECT_THAT(error(Make(Write("t.txt", "a\nb\xFF"), 2)), HasSubstr("line 2: not valid UTF-8"));
  EXPECT_THAT(error(Make(Write("t.jsonl", "{\"text\": \"a\"}\n{"), 2)), HasSubstr("line 2: not valid JSON"));
  EXPECT_THAT(error(Make(folder_ + "/none.txt", 2)), HasSubstr("no file"));
  EXPECT_THAT(error(Make(Write("t.jsonl", "{\"text\": \"\"}\n{\"text\": \"\"}"), 2)), HasSubstr("no text in it"));
  EXPECT_THAT(error(Make(Write("t.txt", "a"), 257)), HasSubstr("256 positions"));
}

}  // namespace
}  // namespace calipress::calibration
