#include "compress/base/utf8.h"

#include <gtest/gtest.h>

namespace calipress {
namespace {

TEST(FindInvalidUtf8, FollowsTheStandard) {
  constexpr size_t kNone = std::string_view::npos;
  EXPECT_EQ(FindInvalidUtf8(""), kNone);
  EXPECT_EQ(FindInvalidUtf8("plain text of more than eight bytes"), kNone);
  EXPECT_EQ(FindInvalidUtf8("\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80 \xED\x9F\xBF \xEF\xBF\xBF \xF4\x8F\xBF\xBF"),
            kNone);
  EXPECT_EQ(FindInvalidUtf8("0123456789\xFF"), 10u);
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80",
                          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2(\xA1", "\xF0\x9F\x98("}) {
    EXPECT_EQ(FindInvalidUtf8(bad), 0u) << testing::PrintToString(bad);
  }
}

TEST(BoundedText, CutsBetweenCharacters) {
  EXPECT_EQ(BoundedText("abc", 3), "abc");
  EXPECT_EQ(BoundedText("abcd", 3), "abc...");
  EXPECT_EQ(BoundedText("ab\xE2\x82\xAC", 4), "ab...");
  EXPECT_EQ(BoundedText("\xE2\x82", 9), "??");
  EXPECT_EQ(BoundedText("\xC0\x80\xED\xA0\x80", 9), "?????");
  EXPECT_EQ(BoundedText(std::string(5000, 'x')), std::string(5000, 'x'));
}

}  // namespace
}  // namespace calipress
