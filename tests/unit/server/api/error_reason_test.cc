#include <regex>
#include <set>
#include <string>

#include "calipress/v1/error_reason.pb.h"
#include "gtest/gtest.h"
#include "tests/unit/server/assembly/testing_tiny_model.h"

namespace calipress {
namespace {

// The engine has the reasons as text (it knows no proto of the API), clients as an enum.
TEST(ErrorReason, TheEngineAndTheApiKnowTheSameOnes) {
  const std::string header = testing::ReadFile(CALIPRESS_SOURCE_DIR "/compress/base/error.h");
  std::set<std::string> engine;
  const std::regex constant(R"re(inline constexpr std::string_view k\w+ = "([A-Z_0-9]+)";)re");
  for (std::sregex_iterator it(header.begin(), header.end(), constant), end; it != end; ++it) engine.insert((*it)[1]);

  std::set<std::string> api;
  const auto* descriptor = v1::ErrorReason_descriptor();
  for (int i = 0; i < descriptor->value_count(); ++i) {
    if (descriptor->value(i)->number() != v1::ERROR_REASON_UNSPECIFIED) api.insert(descriptor->value(i)->name());
  }
  EXPECT_EQ(engine, api);
  EXPECT_GE(api.size(), 31u);
}

}  // namespace
}  // namespace calipress
