#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "compress/base/error.h"
#include "compress/calibration/source.h"
#include "tests/unit/compress/calibration/testing_files.h"
#include "tests/unit/compress/calibration/testing_oracle.h"

namespace calipress::calibration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class InstructionsTest : public FileTest {
 protected:
  void SetUp() override {
    FileTest::SetUp();
    Write(
        "chat_template.jinja",
        "{% for m in messages %}{% if m.role == 'robot' %}{{ raise_exception('no robots') }}{% endif %}{{ bos_token }}"
        "{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}");
    Write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>"})");
  }

  absl::StatusOr<TokenMatrix> Make(const std::string& rows, int samples = 1, int length = 8,
                                   const v1::Filter& filter = {}, ModelOracle* model = nullptr) {
    v1::Calibration calibration;
    *calibration.add_sources()->mutable_filter() = filter;
    v1::InstructionsSource* source = calibration.mutable_sources(0)->mutable_instructions();
    source->set_uri(Write("chats.jsonl", rows));
    source->set_field("messages");
    source->set_layout(v1::TEXT_LAYOUT_PACK);
    calibration.set_samples(samples);
    calibration.set_sequence_length(length);
    SourceContext context = Context();
    context.model_uri = folder_;
    context.model = model;
    return MakeCalibrationTokens(calibration, context);
  }

  std::string ErrorOf(const std::string& rows, std::string_view reason = "INVALID_CALIBRATION_DATA") {
    const auto tokens = Make(rows);
    EXPECT_EQ(ErrorReason(tokens.status()), reason) << tokens.status();
    return std::string(tokens.status().message());
  }
};

constexpr char kChat[] =
    "{\"id\": 7, \"messages\": [{\"role\": \"user\", \"content\": \"One day\"}, {\"role\": \"assistant\", \"content\": "
    "\"a fox came\", \"extra\": [1, {\"deep\": null}]}]}\n";

TEST_F(InstructionsTest, TheTemplatesTokensAreNotDoubled) {
  const auto expected = tokenizer_->Encode("<s>user: One day</s><s>assistant: a fox came</s>", false).value();
  ASSERT_EQ(std::count(expected.begin(), expected.end(), 1), 2);
  const auto tokens = Make(kChat, 1, static_cast<int>(expected.size()));
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->ids, expected);
  EXPECT_EQ(tokens->parts[0].kind(), "instructions");
}

TEST_F(InstructionsTest, AFilterLeavesOutConversations) {
  const std::string other = "{\"messages\": [{\"role\": \"user\", \"content\": \"It was red, and so on\"}]}\n";
  const std::string small = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n";
  v1::Filter filter;
  filter.set_exact_duplicates(true);
  filter.set_max_perplexity(50);
  // Conversations of the assistant's are unlikely.
  const std::vector<int64_t> unlikely = tokenizer_->Encode("<s>user: One day</s><s>assistant: a fox", false).value();
  FakeOracle oracle([&](const std::vector<int64_t>& ids) {
    return std::equal(ids.begin(), ids.end(), unlikely.begin(),
                      unlikely.begin() + std::min(ids.size(), unlikely.size()))
               ? 400.0
               : 4.0;
  });
  const auto expected = tokenizer_->Encode("<s>user: It was red, and so on</s>", false).value();
  const auto tokens =
      Make(kChat + other + other + kChat + other, 1, static_cast<int>(expected.size()), filter, &oracle);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->ids, expected);
  filter.set_min_tokens(9);
  const auto error = Make(small + small, 1, 8, filter, &oracle).status();
  EXPECT_EQ(ErrorReason(error), "INVALID_CALIBRATION_DATA");
  EXPECT_THAT(std::string(error.message()), HasSubstr("Its filter left out 2 of 2: 2 with fewer than 9 tokens"));
}

TEST_F(InstructionsTest, SaysWhatIsWrong) {
  const std::string good = kChat;
  EXPECT_THAT(ErrorOf(good + "{\"text\": \"a\"}\n"),
              AllOf(HasSubstr("chats.jsonl"), HasSubstr("line 2: has no field")));
  EXPECT_THAT(ErrorOf(good + "\n{\"messages\": []}"), HasSubstr("line 3: field 'messages' is an empty list"));
  EXPECT_THAT(ErrorOf("{\"messages\": \"hi\"}"), HasSubstr("line 1: field 'messages' is no list"));
  EXPECT_THAT(ErrorOf("{\"messages\": [\"hi\"]}"), HasSubstr("messages[0] is not an object"));
  EXPECT_THAT(ErrorOf("{\"messages\": [{\"content\": \"hi\"}]}"), HasSubstr("messages[0].role is missing"));
  EXPECT_THAT(ErrorOf("{\"messages\": [{\"role\": 1, \"content\": \"hi\"}]}"), HasSubstr("messages[0].role is not a"));
  EXPECT_THAT(ErrorOf("{\"messages\": [{\"role\": \"user\"}]}"), HasSubstr("messages[0].content is missing"));
  EXPECT_THAT(ErrorOf("{\"messages\": [{\"role\": \"user\", \"content\": 4}]}"), HasSubstr("content is not a string"));
  EXPECT_THAT(ErrorOf("{\"messages\": [{\"role\": \"user\", \"content\": \"\xFF\"}]}"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(ErrorOf("[1"), HasSubstr("line 1: not valid JSON"));
  EXPECT_THAT(ErrorOf("[1]"), HasSubstr("line 1: is no JSON object"));
  EXPECT_THAT(ErrorOf("{\"messages\":" + std::string(100'000, '[')), HasSubstr("line 1: "));
  EXPECT_THAT(ErrorOf("{\"messages\":" + std::string(1000, '[') + std::string(1000, ']') + "}"),
              HasSubstr("nests deeper than 64 levels"));
  EXPECT_THAT(ErrorOf("{\"messages\": [{\"role\": \"robot\", \"content\": \"x\"}]}"),
              AllOf(HasSubstr("chats.jsonl"), HasSubstr("no robots")));
  std::filesystem::remove(folder_ + "/chat_template.jinja");
  EXPECT_THAT(ErrorOf(good, "SOURCE_MODEL_CORRUPT"), HasSubstr("the model has no chat template"));
}

}  // namespace
}  // namespace calipress::calibration
