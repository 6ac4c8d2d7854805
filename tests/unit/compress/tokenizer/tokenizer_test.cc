#include "compress/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "compress/base/error.h"
#include "nlohmann/json.hpp"

namespace calipress::tokenizer {
namespace {

using ::testing::HasSubstr;

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The model is committed under tests/data; both lie in the shared data.
std::string TokenizerJson(const std::string& model) {
  const char* shared = std::getenv("CALIPRESS_SHARED");
  for (const std::filesystem::path folder :
       {std::filesystem::path(CALIPRESS_SOURCE_DIR) / "tests/data",
        std::filesystem::path(shared != nullptr ? shared : CALIPRESS_SOURCE_DIR "/../shared") / "data/models"}) {
    const auto path = folder / model / "tokenizer.json";
    if (std::filesystem::exists(path)) return ReadFile(path);
  }
  return "";
}

// A whole tokenizer of five words, so that these tests need no files.
constexpr char kWords[] = R"({
  "version": "1.0", "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
  "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
              "pad_type_id": 0, "pad_token": "<unk>"},
  "added_tokens": [{"id": 7, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true}],
  "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
  "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "one": 1, "two": 2, "three": 3, "<end>": 7}, "unk_token": "<unk>"}})";

class GoldenTest : public ::testing::TestWithParam<int> {};

TEST_P(GoldenTest, IdsAndTextsEqualThePythonPackage) {
  const auto golden =
      nlohmann::json::parse(ReadFile(CALIPRESS_SOURCE_DIR "/tests/unit/compress/tokenizer/golden_ids.json"));
  const auto& model = golden.at(GetParam());
  const std::string json = TokenizerJson(model.at("model"));
  if (json.empty()) GTEST_SKIP() << model.at("model") << " is not here: set CALIPRESS_SHARED to the shared data";
  const auto tokenizer = Tokenizer::FromJson(json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary_size(), model.at("vocabulary_size"));
  ASSERT_GT(model.at("cases").size(), 20);
  for (const auto& item : model.at("cases")) {
    const std::string text = item.at("text");
    const auto with = (*tokenizer)->Encode(text, true);
    const auto without = (*tokenizer)->Encode(text, false);
    ASSERT_TRUE(with.ok() && without.ok()) << text;
    EXPECT_EQ(*with, item.at("with").get<std::vector<int64_t>>()) << text;
    EXPECT_EQ(*without, item.at("without").get<std::vector<int64_t>>()) << text;
    EXPECT_EQ((*tokenizer)->Decode(*with, true).value(), item.at("decoded").get<std::string>());
    EXPECT_EQ((*tokenizer)->Decode(*with, false).value(), item.at("decoded_all").get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest, ::testing::Values(0, 1));

TEST(TokenizerTest, VocabularySizeIsTheHighestIdPlusOne) {
  EXPECT_EQ(Tokenizer::FromJson(kWords).value()->vocabulary_size(), 8);
}

TEST(TokenizerTest, TruncationAndPaddingOfTheFileAreOff) {
  const auto tokenizer = Tokenizer::FromJson(kWords).value();
  EXPECT_EQ(tokenizer->Encode("one two three<end>", false).value(), (std::vector<int64_t>{1, 2, 3, 7}));
}

TEST(TokenizerTest, MalformedFilesAreCorruptModels) {
  const std::string whole = kWords;
  const std::vector<std::string> broken = {"",
                                           "{}",
                                           "null",
                                           "\xff\xfe",
                                           whole.substr(0, whole.size() / 2),
                                           std::string(100000, '['),
                                           R"({"version": "1.0", "model": {"type": "Nothing"}})"};
  for (const std::string& json : broken) {
    const auto tokenizer = Tokenizer::FromJson(json);
    ASSERT_FALSE(tokenizer.ok()) << json.substr(0, 80);
    EXPECT_EQ(ErrorReason(tokenizer.status()), reason::kSourceModelCorrupt);
    EXPECT_EQ(ErrorClassOf(tokenizer.status()), ErrorClass::kUser);
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("tokenizer.json"));
  }
}

TEST(TokenizerTest, TextMustBeUtf8) {
  const auto tokenizer = Tokenizer::FromJson(kWords).value();
  for (const std::string text : {"one \xff two", "\xc3", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80"}) {
    const auto ids = tokenizer->Encode(text, true);
    ASSERT_FALSE(ids.ok());
    EXPECT_EQ(ErrorReason(ids.status()), reason::kInvalidCalibrationData);
    EXPECT_THAT(std::string(ids.status().message()), HasSubstr("UTF-8"));
  }
}

TEST(TokenizerTest, DecodeRefusesIdsThatAreNone) {
  const auto tokenizer = Tokenizer::FromJson(kWords).value();
  EXPECT_EQ(tokenizer->Decode({1, 2}, true).value(), "one two");
  EXPECT_EQ(ErrorReason(tokenizer->Decode({1, -1}, true).status()), reason::kInvalidCalibrationData);
  EXPECT_EQ(ErrorReason(tokenizer->Decode({int64_t{1} << 32}, true).status()), reason::kInvalidCalibrationData);
}

TEST(TokenizerTest, ThreadsShareOneTokenizer) {
  const auto tokenizer = Tokenizer::FromJson(kWords).value();
  std::vector<std::jthread> threads;
  std::array<int, 4> wrong{};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto ids = tokenizer->Encode("three two one", false);
        if (!ids.ok() || *ids != std::vector<int64_t>{3, 2, 1}) ++wrong[t];
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, (std::array<int, 4>{}));
}

}  // namespace
}  // namespace calipress::tokenizer
