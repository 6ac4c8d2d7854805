#include "compress/recipe/n_of_m.h"

#include <gtest/gtest.h>

namespace calipress::recipe {
namespace {

TEST(NOfM, ReadsWhatIsAPattern) {
  EXPECT_EQ(ParseNOfM("2:4"), (NOfM{2, 4}));
  EXPECT_EQ(ParseNOfM("5:8"), (NOfM{5, 8}));
  EXPECT_EQ(ParseNOfM("1:256"), (NOfM{1, 256}));
  EXPECT_DOUBLE_EQ(ParseNOfM("5:8")->sparsity(), 0.625);
}

TEST(NOfM, RefusesTheRest) {
  for (const char* text : {"", ":", "2", "2:", ":4", "4:4", "5:4", "0:4", "2:257", "-2:4", "+2:4", " 2:4", "2:4 ",
                           "2:4:8", "2.0:4", "99999999999:99999999999", "a:b"}) {
    EXPECT_EQ(ParseNOfM(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace calipress::recipe
