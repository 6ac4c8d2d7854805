#include "compress/tasks/examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "tests/unit/compress/calibration/testing_files.h"

namespace calipress::tasks {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TaskRows : public calibration::FileTest {
 protected:
  v1::MultipleChoice Task(const std::string& uri) const {
    v1::MultipleChoice task;
    task.set_name("questions");
    task.set_uri(uri);
    task.set_context_field("context");
    task.set_choices_field("choices");
    task.set_answer_field("answer");
    task.set_delimiter(" ");
    return task;
  }

  v1::LastWord Words(const std::string& uri) const {
    v1::LastWord task;
    task.set_name("words");
    task.set_uri(uri);
    task.set_field("text");
    return task;
  }

  // lm-eval's _encode_pair, with <s> before both texts.
  std::pair<std::vector<int64_t>, int64_t> Pair(std::string context, std::string continuation) const {
    const size_t end = context.find_last_not_of(' ') + 1;
    continuation = context.substr(end) + continuation;
    context = context.substr(0, end);
    std::vector<int64_t> whole = Encode(context + continuation);
    return {whole, static_cast<int64_t>(whole.size() - Encode(context).size())};
  }

  void ExpectRefused(const std::string& bytes, const std::vector<std::string>& words) {
    const std::string path = Write("rows.jsonl", bytes);
    const auto examples = ReadMultipleChoice(Task(path), Context());
    ASSERT_FALSE(examples.ok()) << bytes;
    EXPECT_EQ(ErrorReason(examples.status()), reason::kInvalidCalibrationData);
    EXPECT_THAT(std::string(examples.status().message()), HasSubstr("rows.jsonl"));
    for (const std::string& word : words) EXPECT_THAT(std::string(examples.status().message()), HasSubstr(word));
  }
};

constexpr char kGood[] = R"({"context": "The cat sat on the", "choices": ["mat", "table leg"], "answer": 1})";

TEST_F(TaskRows, TokenizesContextDelimiterAndChoice) {
  const auto examples = ReadMultipleChoice(Task(Write("a.jsonl", std::string("\n") + kGood + "\n  \n")), Context());
  ASSERT_TRUE(examples.ok()) << examples.status();
  ASSERT_EQ(examples->questions.size(), 1u);
  EXPECT_EQ(examples->questions[0].choices, 2);
  EXPECT_EQ(examples->questions[0].answer, 1);
  ASSERT_EQ(examples->continuations.size(), 2u);
  for (int i = 0; i < 2; ++i) {
    const auto [ids, scored] = Pair("The cat sat on the", i == 0 ? " mat" : " table leg");
    EXPECT_EQ(examples->continuations[i].ids, ids);
    EXPECT_EQ(examples->continuations[i].scored, scored);
    EXPECT_EQ(examples->continuations[i].ids[0], 1) << "<s> is missing";
  }
  EXPECT_EQ(examples->continuations[1].bytes, 9);
}

TEST_F(TaskRows, WhiteSpaceAtTheEndGoesToTheContinuation) {
  v1::MultipleChoice task =
      Task(Write("a.jsonl", R"({"context": "Once upon a  ", "choices": ["time", "day"], "answer": 0})"));
  task.set_delimiter("");
  const auto examples = ReadMultipleChoice(task, Context());
  ASSERT_TRUE(examples.ok()) << examples.status();
  const auto [ids, scored] = Pair("Once upon a  ", "time");
  EXPECT_EQ(examples->continuations[0].ids, ids);
  EXPECT_EQ(examples->continuations[0].scored, scored);
  EXPECT_EQ(examples->continuations[0].bytes, 4);
}

TEST_F(TaskRows, FieldsHaveTheNamesTheTaskGives) {
  v1::MultipleChoice task =
      Task(Write("a.jsonl", R"({"id": 3, "query": "It is", "choices": ["é", "b"], "gold": 0, "deep": [[[[[[1]]]]]]})"));
  task.set_context_field("query");
  task.set_answer_field("gold");
  const auto examples = ReadMultipleChoice(task, Context());
  ASSERT_TRUE(examples.ok()) << examples.status();
  EXPECT_EQ(examples->continuations[0].bytes, 2);  // UTF-8
}

// WinoGrande: the same text after each of two contexts.
TEST_F(TaskRows, ContextsToChooseFrom) {
  v1::MultipleChoice task = Task(
      Write("a.jsonl", R"({"contexts": ["so Sarah", "so Maria Lopez"], "continuation": "always won.", "gold": 1})"));
  task.set_context_field("contexts");
  task.set_choices_field("continuation");
  task.set_answer_field("gold");
  const auto examples = ReadMultipleChoice(task, Context());
  ASSERT_TRUE(examples.ok()) << examples.status();
  ASSERT_EQ(examples->questions.size(), 1u);
  EXPECT_EQ(examples->questions[0].choices, 2);
  EXPECT_EQ(examples->questions[0].answer, 1);
  ASSERT_EQ(examples->continuations.size(), 2u);
  for (int i = 0; i < 2; ++i) {
    const auto [ids, scored] = Pair(i == 0 ? "so Sarah" : "so Maria Lopez", " always won.");
    EXPECT_EQ(examples->continuations[i].ids, ids);
    EXPECT_EQ(examples->continuations[i].scored, scored);
    EXPECT_EQ(examples->continuations[i].bytes, 11);
  }
}

TEST_F(TaskRows, MaxExamplesTakesTheFirstRowsAndLooksAtNoOther) {
  v1::MultipleChoice task = Task(Write("a.jsonl", std::string(kGood) + "\n" + kGood + "\nnot JSON\n"));
  task.set_max_examples(2);
  const auto examples = ReadMultipleChoice(task, Context());
  ASSERT_TRUE(examples.ok()) << examples.status();
  EXPECT_EQ(examples->questions.size(), 2u);
  EXPECT_EQ(examples->questions[1].first, 2);
}

TEST_F(TaskRows, LongContextsLoseTheirFirstTokens) {
  std::string context;
  for (int i = 0; i < 400; ++i) context += "word" + std::to_string(i) + " ";
  const auto examples = ReadMultipleChoice(
      Task(Write("a.jsonl", R"({"context": ")" + context + R"(", "choices": ["yes", "no"], "answer": 0})")), Context());
  ASSERT_TRUE(examples.ok()) << examples.status();
  auto [ids, scored] = Pair(context, " yes");
  ids.erase(ids.begin(), ids.end() - 257);  // 256 positions see, and the last id is predicted alone
  EXPECT_EQ(examples->continuations[0].ids, ids);
  EXPECT_EQ(examples->continuations[0].scored, scored);
}

TEST_F(TaskRows, BadRowsNameFileAndLine) {
  const std::string good = std::string(kGood) + "\n";
  ExpectRefused(good + "{\"context\": \n", {"line 2", "not valid JSON"});
  ExpectRefused(good + "\xff\n", {"line 2", "not valid UTF-8 at byte 1"});
  ExpectRefused(good + "[1]\n", {"line 2", "no JSON object"});
  ExpectRefused(good + R"({"contexts": "a", "choices": ["a", "b"], "answer": 0})",
                {"line 2", "no field 'context'", "its fields are answer, choices, contexts", "context_field"});
  ExpectRefused(good + R"({"context": 3, "choices": ["a", "b"], "answer": 0})",
                {"line 2", "'context' must be a string"});
  ExpectRefused(R"({"context": ["a"], "choices": "b", "answer": 0})", {"line 1", "'context'", "two or more", "has 1"});
  ExpectRefused(R"({"context": ["a", ""], "choices": "b", "answer": 0})", {"line 1", "element 1 is empty"});
  ExpectRefused(R"({"context": ["a", "c"], "choices": ["b"], "answer": 0})",
                {"line 1", "'choices' must be the text that is scored after each element of 'context'", "array"});
  ExpectRefused(R"({"context": ["a", "c"], "choices": "", "answer": 0})", {"line 1", "'choices' is empty"});
  ExpectRefused(R"({"context": ["a", "c"], "choices": "b", "answer": 2})", {"line 1", "0 to 1", "it is 2"});
  ExpectRefused(R"({"context": "a", "choices": "ab", "answer": 0})", {"line 1", "'choices' must be a list", "string"});
  ExpectRefused(R"({"context": "a", "choices": ["a"], "answer": 0})", {"line 1", "two or more", "it has 1"});
  ExpectRefused(R"({"context": "a", "choices": ["a", 2], "answer": 0})", {"line 1", "element 1 is number"});
  ExpectRefused(R"({"context": "a", "choices": ["a", ""], "answer": 0})", {"line 1", "element 1 is empty"});
  ExpectRefused(R"({"context": "a", "choices": ["a", "b"], "answer": 2})", {"line 1", "0 to 1", "it is 2"});
  ExpectRefused(R"({"context": "a", "choices": ["a", "b"], "answer": -1})", {"line 1", "0 to 1", "it is -1"});
  ExpectRefused(R"({"context": "a", "choices": ["a", "b"], "answer": 0.5})", {"line 1", "0 to 1", "it is number"});
  ExpectRefused(R"({"context": "a", "choices": ["a", "b"], "answer": "0"})", {"line 1", "it is string"});
  ExpectRefused(R"({"context": "a", "choices": ["a", "b"], "answer": true})", {"line 1", "it is boolean"});
  ExpectRefused(R"({"context": "a", "choices": ["a", "b"]})", {"line 1", "no field 'answer'"});
  ExpectRefused("\n \n", {"has no rows"});
  std::string longest = R"({"context": "a", "choices": ["a", ")";
  for (int i = 0; i < 400; ++i) longest += "word" + std::to_string(i) + " ";
  ExpectRefused(good + longest + R"("], "answer": 0})",
                {"line 2", "element 1 of 'choices'", "more than the model's 256"});
  EXPECT_THAT(std::string(ReadMultipleChoice(Task(folder_ + "/none.jsonl"), Context()).status().message()),
              HasSubstr("there is no file"));
}

TEST_F(TaskRows, NestingAndManyChoicesAreRefusedCheaply) {
  ExpectRefused(std::string(200000, '['), {"line 1"});
  std::string many = R"({"context": "a", "answer": 0, "choices": ["x")";
  for (int i = 0; i < 300; ++i) many += ", \"x\"";
  ExpectRefused(many + "]}", {"line 1", "more than 256"});
}

TEST_F(TaskRows, TheLastWordIsWhatStandsBehindTheLastWhiteSpace) {
  const auto examples =
      ReadLastWord(Words(Write("a.jsonl",
                               "{\"text\": \"Lily went to the park\"}\n{\"text\": \"one\\n\\ttwo. \\n\"}\n"
                               "{\"text\": \"wide\\u3000\\u00e9t\\u00e9\\u00a0\"}\n")),
                   Context());
  ASSERT_TRUE(examples.ok()) << examples.status();
  ASSERT_EQ(examples->continuations.size(), 3u);
  auto [ids, scored] = Pair("Lily went to the", " park");
  EXPECT_EQ(examples->continuations[0].ids, ids);
  EXPECT_EQ(examples->continuations[0].scored, scored);
  EXPECT_EQ(examples->continuations[1].ids, Encode("one\n\ttwo."));
  EXPECT_EQ(examples->continuations[1].scored,
            static_cast<int64_t>(Encode("one\n\ttwo.").size() - Encode("one").size()));
  EXPECT_EQ(examples->continuations[2].ids, Encode("wide\u3000été"));
  EXPECT_EQ(examples->questions[2].choices, 1);
}

// LAMBADA as some have it: what comes before, and the last word.
TEST_F(TaskRows, LastWordsInAFieldOfTheirOwn) {
  const auto examples =
      ReadLastWord(Words(Write("a.jsonl",
                               "{\"context\": \"Lily went to the\", \"continuation\": \"park\"}\n"
                               "{\"context\": \"Lily went to the \", \"continuation\": \"park\\n\"}\n"
                               "{\"context\": \"Lily went to the\", \"continuation\": \" big park\"}\n"
                               "{\"text\": \"one two\", \"context\": \"a\", \"continuation\": \"b\"}\n")),
                   Context());
  ASSERT_TRUE(examples.ok()) << examples.status();
  ASSERT_EQ(examples->continuations.size(), 4u);
  const auto [ids, scored] = Pair("Lily went to the", " park");
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(examples->continuations[i].ids, ids);
    EXPECT_EQ(examples->continuations[i].scored, scored);
  }
  EXPECT_EQ(examples->continuations[2].scored, Pair("Lily went to the", " big park").second);
  EXPECT_EQ(examples->continuations[3].ids, Encode("one two"));
  const auto error = [&](const std::string& row) {
    return std::string(ReadLastWord(Words(Write("b.jsonl", row)), Context()).status().message());
  };
  EXPECT_THAT(error(R"({"context": "a b", "continuation": " "})"),
              HasSubstr("line 1: field 'continuation' has no words"));
  EXPECT_THAT(error(R"({"context": " ", "continuation": "b"})"), HasSubstr("line 1: field 'context' has no words"));
  EXPECT_THAT(error(R"({"context": 4, "continuation": "b"})"), HasSubstr("line 1: field 'context' is a number"));
  EXPECT_THAT(error(R"({"context": "a"})"), HasSubstr("line 1: has no field 'text'; its fields are context"));
}

TEST_F(TaskRows, LastWordsOfParagraphs) {
  v1::LastWord task = Words(Write("a.txt", "The first\nparagraph here.\n\nAnd another one.\n\nalone\n"));
  task.set_max_examples(2);
  const auto examples = ReadLastWord(task, Context());
  ASSERT_TRUE(examples.ok()) << examples.status();
  ASSERT_EQ(examples->questions.size(), 2u);
  EXPECT_EQ(examples->continuations[1].ids, Encode("And another one."));
  task.set_max_examples(0);
  EXPECT_THAT(std::string(ReadLastWord(task, Context()).status().message()),
              AllOf(HasSubstr("a.txt"), HasSubstr("text 3"), HasSubstr("one word alone")));
}

TEST_F(TaskRows, TextsWithoutALastWordNameFileAndLine) {
  for (const char* text : {"alone", "", "  ", " alone "}) {
    const std::string path = Write("w.jsonl", std::string("{\"text\": \"a b\"}\n{\"text\": \"") + text + "\"}\n");
    EXPECT_THAT(std::string(ReadLastWord(Words(path), Context()).status().message()),
                AllOf(HasSubstr("w.jsonl"), HasSubstr("line 2"), HasSubstr("word")))
        << text;
  }
  EXPECT_THAT(std::string(ReadLastWord(Words(Write("n.jsonl", "{\"word\": \"a b\"}\n")), Context()).status().message()),
              AllOf(HasSubstr("line 1"), HasSubstr("no field 'text'")));
}

}  // namespace
}  // namespace calipress::tasks
