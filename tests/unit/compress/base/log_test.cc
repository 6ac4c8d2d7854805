#include "compress/base/log.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

namespace calipress {
namespace {

TEST(Log, LinesCarryFieldsAndScope) {
  const auto file = std::filesystem::path(testing::TempDir()) / "calipress_log_test.log";
  std::filesystem::remove(file);
  ASSERT_TRUE(StartLogging("unit", "info", file.string()));
  {
    LogScope job({{"job", "j-1"}, {"stage", 2}});
    LogInfo("two\nlines", {{"path", "a b"}, {"count", 3}});
    LogDebug("below the level");
  }
  LogWarning("outside");
  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  const std::string log = text.str();
  EXPECT_NE(log.find("info unit two lines path=\"a b\" count=3 job=j-1 stage=2"), std::string::npos) << log;
  EXPECT_EQ(log.find("below"), std::string::npos);
  EXPECT_NE(log.find("warning unit outside\n"), std::string::npos) << log;
  EXPECT_FALSE(StartLogging("unit", "loud"));
}

}  // namespace
}  // namespace calipress
