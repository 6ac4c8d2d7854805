#include "compress/arch/text_ends.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"

namespace calipress::arch {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(TextEnds, TheGenerationConfigGoesFirst) {
  const auto ends =
      ParseTextEnds(R"({"bos_token_id": 1, "eos_token_id": 2})", R"({"bos_token_id": 5, "eos_token_id": [6, 7]})", 100);
  ASSERT_TRUE(ends.ok()) << ends.status();
  EXPECT_EQ(ends->begin, 5);
  EXPECT_THAT(ends->end, ElementsAre(6, 7));
}

TEST(TextEnds, EachFieldFallsBackAlone) {
  const auto ends = ParseTextEnds(R"({"bos_token_id": 1, "eos_token_id": 2})", R"({"eos_token_id": 9})", 100);
  ASSERT_TRUE(ends.ok()) << ends.status();
  EXPECT_EQ(ends->begin, 1);
  EXPECT_THAT(ends->end, ElementsAre(9));
}

TEST(TextEnds, MayBeNone) {
  for (const char* config : {"{}", R"({"bos_token_id": null, "eos_token_id": null})", R"({"bos_token_id": -1})"}) {
    const auto ends = ParseTextEnds(config, "", 100);
    ASSERT_TRUE(ends.ok()) << ends.status();
    EXPECT_FALSE(ends->begin.has_value());
    EXPECT_THAT(ends->end, IsEmpty());
  }
}

TEST(TextEnds, WhatIsWrongIsNamed) {
  for (const char* config :
       {R"({"bos_token_id": 100})", R"({"bos_token_id": "<s>"})", R"({"bos_token_id": 1.5})", R"({"bos_token_id": {}})",
        R"({"bos_token_id": 18446744073709551615})", R"({"bos_token_id": [[1]]})"}) {
    const auto ends = ParseTextEnds(config, "", 100);
    EXPECT_EQ(ErrorReason(ends.status()), "SOURCE_MODEL_CORRUPT") << config;
    EXPECT_THAT(std::string(ends.status().message()), HasSubstr("config.json: bos_token_id")) << config;
  }
  EXPECT_THAT(std::string(ParseTextEnds("{}", "no JSON", 100).status().message()),
              HasSubstr("generation_config.json: must hold a JSON object"));
}

}  // namespace
}  // namespace calipress::arch
