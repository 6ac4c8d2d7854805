#include "compress/tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "compress/base/error.h"
#include "nlohmann/json.hpp"

namespace calipress::tokenizer {
namespace {

using nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::HasSubstr;

ordered_json Golden() {
  std::ifstream file(CALIPRESS_SOURCE_DIR "/tests/unit/compress/tokenizer/golden_chats.json");
  return ordered_json::parse(file);
}

std::string RefusalOf(std::string_view jinja, std::string_view config) {
  const auto made = ChatTemplate::FromFiles(jinja, config);
  EXPECT_EQ(ErrorReason(made.status()), "SOURCE_MODEL_CORRUPT") << made.status();
  return std::string(made.status().message());
}

TEST(ChatTemplate, EqualsTransformers) {
  const ordered_json golden = Golden();
  ASSERT_GT(golden.at("cases").size(), 25u);
  for (const ordered_json& item : golden.at("cases")) {
    SCOPED_TRACE(item.at("name").get<std::string>());
    ordered_json config = golden.at("tokens");
    config["chat_template"] = item.at("template");
    const auto made = ChatTemplate::FromFiles("", config.dump());
    ASSERT_TRUE(made.ok()) << made.status();
    const auto text = (*made)->Render(item.at("messages").dump());
    if (item.contains("error")) {
      EXPECT_EQ(ErrorReason(text.status()), "INVALID_CALIBRATION_DATA");
      EXPECT_THAT(std::string(text.status().message()), HasSubstr(item.at("error").get<std::string>()));
      continue;
    }
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, item.at("text").get<std::string>());
  }
}

constexpr char kHello[] = R"([{"role": "user", "content": "hello"}])";

std::string Rendered(std::string_view jinja, std::string_view config = "{}") {
  const auto made = ChatTemplate::FromFiles(jinja, config);
  EXPECT_TRUE(made.ok()) << made.status();
  const auto text = made.ok() ? (*made)->Render(kHello) : made.status();
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

TEST(ChatTemplate, WhereItComesFrom) {
  EXPECT_EQ(Rendered("file {{ bos_token }}", R"({"chat_template": "config", "bos_token": {"content": "<b>"}})"),
            "file <b>");
  EXPECT_EQ(Rendered("", R"({"chat_template": "config {{ eos_token }}", "eos_token": "<e>"})"), "config <e>");
  EXPECT_EQ(Rendered("", R"({"chat_template": [{"name": "tool_use", "template": "t"},
                                               {"name": "default", "template": "d"}]})"),
            "d");
  // A token that is not there is written as nothing, as in Python.
  EXPECT_EQ(Rendered("{{ bos_token }}|{{ messages[0].content }}", R"({"bos_token": null, "add_bos_token": true})"),
            "|hello");
}

// A text must not depend on the day of its making.
TEST(ChatTemplate, HasNoDate) {
  EXPECT_EQ(Rendered("{% if strftime_now is defined %}{{ strftime_now('%d') }}{% else %}26 Jul 2024{% endif %}"),
            "26 Jul 2024");
}

TEST(ChatTemplate, SaysWhatIsWrong) {
  EXPECT_THAT(RefusalOf("", "{}"), HasSubstr("the model has no chat template"));
  EXPECT_THAT(RefusalOf("", ""), HasSubstr("the model has no chat template"));
  EXPECT_THAT(RefusalOf("", R"({"chat_template": null})"), HasSubstr("no chat template"));
  EXPECT_THAT(RefusalOf("", R"({"chat_template": [{"name": "rag", "template": "x"}]})"),
              HasSubstr("none that is named"));
  EXPECT_THAT(RefusalOf("", R"({"chat_template": 5})"), HasSubstr("neither a text nor a list"));
  EXPECT_THAT(RefusalOf("", "[1]"), HasSubstr("tokenizer_config.json is not a JSON object"));
  EXPECT_THAT(RefusalOf("{% for x in %}", "{}"), AllOf(HasSubstr("cannot be read"), HasSubstr("chat_template:1")));
  EXPECT_THAT(RefusalOf("{%}{% endfor %}", "{}"), HasSubstr("cannot be read"));
  const auto wide = ChatTemplate::FromFiles("{{ messages | tojson(indent=100000) }}", "{}");
  ASSERT_TRUE(wide.ok());
  EXPECT_THAT(std::string((*wide)->Render(kHello).status().message()), HasSubstr("indent is above 64"));
  EXPECT_THAT(RefusalOf("{{ x | no_such_filter }}{% if %}", "{}"), HasSubstr("cannot be read"));

  const auto made = ChatTemplate::FromFiles("{{ messages[0].content.nothing.here }}", "{}");
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(ErrorReason((*made)->Render(kHello).status()), "INVALID_CALIBRATION_DATA");
  EXPECT_FALSE((*made)->Render("[").ok());
}

// A template is a file from outside: it must not run for ever or fill the memory.
TEST(ChatTemplate, IsBounded) {
  const auto endless = ChatTemplate::FromFiles(
      "{% for a in range(100000) %}{% for b in range(100000) %}{% set c = b %}{% endfor %}{% endfor %}", "{}");
  ASSERT_TRUE(endless.ok());
  EXPECT_THAT(std::string((*endless)->Render(kHello).status().message()), HasSubstr("fuel"));
  const auto large =
      ChatTemplate::FromFiles("{% set x = 'abcdefgh' * 10000 %}{% for a in range(100000) %}{{ x }}{% endfor %}", "{}");
  ASSERT_TRUE(large.ok());
  EXPECT_FALSE((*large)->Render(kHello).ok());
}

}  // namespace
}  // namespace calipress::tokenizer
