#include "compress/arch/dtype.h"

#include <gtest/gtest.h>

#include <set>

namespace calipress {
namespace {

constexpr Dtype kAll[] = {Dtype::kBF16, Dtype::kF16, Dtype::kF32, Dtype::kF64,  Dtype::kI8,     Dtype::kU8,
                          Dtype::kI16,  Dtype::kI32, Dtype::kI64, Dtype::kBool, Dtype::kF8E4M3, Dtype::kF8E5M2};

TEST(DtypeTest, NamesAreOneToOne) {
  std::set<std::string_view> names;
  for (const Dtype dtype : kAll) {
    names.insert(DtypeName(dtype));
    EXPECT_EQ(DtypeFromName(DtypeName(dtype)), dtype);
  }
  EXPECT_EQ(names.size(), std::size(kAll));
  EXPECT_EQ(DtypeFromName("bf16"), std::nullopt);
  EXPECT_EQ(DtypeFromName(""), std::nullopt);
}

TEST(DtypeTest, SizesAndKinds) {
  EXPECT_EQ(DtypeName(Dtype::kF8E4M3), "F8_E4M3");
  EXPECT_EQ(DtypeBytes(Dtype::kBF16), 2);
  EXPECT_EQ(DtypeBytes(Dtype::kF64), 8);
  EXPECT_EQ(DtypeBytes(Dtype::kI32), 4);
  EXPECT_EQ(DtypeBytes(Dtype::kBool), 1);
  EXPECT_TRUE(IsFloating(Dtype::kF8E5M2));
  EXPECT_FALSE(IsFloating(Dtype::kI64));
}

}  // namespace
}  // namespace calipress
