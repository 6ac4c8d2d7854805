#include "compress/calibration/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "tests/unit/compress/calibration/testing_files.h"

namespace calipress::calibration {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class DocumentsTest : public FileTest {
 protected:
  std::vector<std::string> All(const std::string& name, const std::string& bytes, const std::string& field = "text") {
    auto documents = Documents::Open(*store_, Write(name, bytes), field);
    EXPECT_TRUE(documents.ok()) << documents.status();
    std::vector<std::string> all;
    if (!documents.ok()) return all;
    for (int64_t i = 0; i < (*documents)->size(); ++i) all.push_back((*documents)->Read(i).value());
    return all;
  }

  std::string ErrorOf(const std::string& name, const std::string& bytes) {
    const auto documents = Documents::Open(*store_, Write(name, bytes), "text");
    EXPECT_FALSE(documents.ok()) << bytes.substr(0, 100);
    EXPECT_EQ(ErrorReason(documents.status()), "INVALID_CALIBRATION_DATA") << documents.status();
    EXPECT_EQ(ErrorClassOf(documents.status()), ErrorClass::kUser);
    EXPECT_THAT(std::string(documents.status().message()), HasSubstr(name));
    return std::string(documents.status().message());
  }
};

TEST_F(DocumentsTest, ParagraphsOfText) {
  EXPECT_THAT(All("a.txt", "one\ntwo\n\nthree\n"), ElementsAre("one\ntwo", "three"));
  EXPECT_THAT(All("a.txt", "\n\n \t\none\r\n\r\ntwo\r\nmore\r\n\r\n\r\n"), ElementsAre("one", "two\r\nmore"));
  EXPECT_THAT(All("A.TXT", "no blank line\nin all\nthe file"), ElementsAre("no blank line\nin all\nthe file"));
  EXPECT_THAT(All("a.txt", "\xEF\xBB\xBFmark\n\nb\xC3\xA4r"), ElementsAre("mark", "b\xC3\xA4r"));
}

TEST_F(DocumentsTest, RowsOfJsonLines) {
  EXPECT_THAT(
      All("a.jsonl", "{\"text\": \"a\\nb\", \"n\": [1, {\"text\": 2}]}\n\n{\"text\":\"\"}\r\n  {\"text\":\"\\u00e4\"}"),
      ElementsAre("a\nb", "\xC3\xA4"));
  EXPECT_THAT(All("a.jsonl", "\xEF\xBB\xBF{\"body\": \"x\", \"text\": 1}\n", "body"), ElementsAre("x"));
  EXPECT_THAT(All("a.jsonl", R"({"o": {"text": "inner"}, "text": "outer"})"), ElementsAre("outer"));
}

TEST_F(DocumentsTest, NamesFileAndLine) {
  const std::string good = "{\"text\": \"secret words\"}\n";
  EXPECT_THAT(ErrorOf("a.jsonl", good + "{\"text\": \"secret words}\n" + good),
              AllOf(HasSubstr("line 2: not valid JSON at byte"), Not(HasSubstr("secret"))));
  EXPECT_THAT(ErrorOf("a.jsonl", good + "\n{\"title\": \"t\", \"body\": \"secret\"}"),
              AllOf(HasSubstr("line 3: has no field 'text'; its fields are title, body"), Not(HasSubstr("secret"))));
  EXPECT_THAT(ErrorOf("a.jsonl", "{}"), HasSubstr("line 1: has no field 'text'."));
  EXPECT_THAT(ErrorOf("a.jsonl", good + "{\"text\": 5}"), HasSubstr("line 2: field 'text' is a number"));
  EXPECT_THAT(ErrorOf("a.jsonl", "{\"text\": null}"), HasSubstr("line 1: field 'text' is null"));
  EXPECT_THAT(ErrorOf("a.jsonl", "{\"text\": [\"a\"]}"), HasSubstr("field 'text' is a list"));
  EXPECT_THAT(ErrorOf("a.jsonl", "{\"text\": {\"text\": \"a\"}}"), HasSubstr("field 'text' is an object"));
  EXPECT_THAT(ErrorOf("a.jsonl", "[\"a\"]"), HasSubstr("line 1: is a list; a line must be a JSON object"));
  EXPECT_THAT(ErrorOf("a.jsonl", "\"a\""), HasSubstr("line 1: is a string"));
  EXPECT_THAT(ErrorOf("a.jsonl", good + "{\"text\": \"\xFF\"}"), HasSubstr("line 2: not valid UTF-8 at byte 11"));
  EXPECT_THAT(ErrorOf("a.jsonl", "{\"text\": \"\\ud800\"}"), HasSubstr("line 1: not valid JSON"));
  EXPECT_THAT(ErrorOf("a.jsonl", good + "{\"text\": \"a\"} x"), HasSubstr("line 2: not valid JSON"));
  EXPECT_THAT(ErrorOf("a.txt", "ok\nok\n\xC3("), HasSubstr("line 3: not valid UTF-8 at byte 1"));
  // A hostile row: deep nesting must not exhaust the stack.
  EXPECT_THAT(ErrorOf("a.jsonl", "{\"text\":" + std::string(3'000'000, '[')), HasSubstr("line 1: not valid JSON"));
}

TEST_F(DocumentsTest, NamesFilesThatAreMissingEmptyOrOfAnotherKind) {
  EXPECT_THAT(ErrorOf("a.txt", ""), HasSubstr("is empty"));
  EXPECT_THAT(ErrorOf("a.txt", " \n\n\n"), HasSubstr("has no text in it"));
  EXPECT_THAT(ErrorOf("a.jsonl", "{\"text\": \"\"}\n"), HasSubstr("has no text in it"));
  EXPECT_THAT(ErrorOf("a.csv", "a"), HasSubstr("does not end with .txt, .jsonl"));
  const auto missing = Documents::Open(*store_, folder_ + "/none.txt", "text");
  EXPECT_EQ(ErrorReason(missing.status()), "INVALID_CALIBRATION_DATA") << missing.status();
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("none.txt"));
}

// Lines that lie across the pieces of a read, and files that are not kept in memory.
TEST_F(DocumentsTest, LargeFilesAreReadAgain) {
  std::string bytes;
  std::vector<std::string> expected;
  for (int i = 0; bytes.size() < (66u << 20); ++i) {
    expected.push_back(absl::StrCat(i, std::string(i % 3 == 0 ? 2'000'001 : 100'003, 'a' + i % 26)));
    absl::StrAppend(&bytes, "{\"text\": \"", expected.back(), "\"}\n");
  }
  auto documents = Documents::Open(*store_, Write("large.jsonl", bytes), "text");
  ASSERT_TRUE(documents.ok()) << documents.status();
  ASSERT_EQ((*documents)->size(), static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto text = (*documents)->Read(static_cast<int64_t>(i));
    ASSERT_TRUE(text.ok() && *text == expected[i]) << i;
  }
}

TEST_F(DocumentsTest, RefusesALineWithoutEnd) {
  EXPECT_THAT(ErrorOf("a.jsonl", std::string(70 << 20, 'x')), HasSubstr("line 1 has more than 67108864 bytes"));
  std::string lines;
  while (lines.size() < (66u << 20)) lines += std::string(1000, 'x') + "\n";
  EXPECT_THAT(ErrorOf("a.txt", lines), HasSubstr("separate documents with blank lines"));
}

}  // namespace
}  // namespace calipress::calibration
