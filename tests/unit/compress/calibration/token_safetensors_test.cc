#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/calibration/source.h"
#include "tests/unit/compress/calibration/testing_files.h"

namespace calipress::calibration {
namespace {

using ::testing::HasSubstr;

std::string Safetensors(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

class TokenSafetensorsTest : public FileTest {
 protected:
  absl::StatusOr<TokenMatrix> Make(const std::string& bytes) {
    v1::Calibration calibration;
    calibration.add_sources()->mutable_token_ids()->set_uri(Write("ids.safetensors", bytes));
    return MakeCalibrationTokens(calibration, Context());
  }
  std::string ErrorOf(const std::string& header, const std::string& data) {
    const auto tokens = Make(Safetensors(header, data));
    EXPECT_EQ(ErrorReason(tokens.status()), "INVALID_CALIBRATION_DATA") << tokens.status();
    EXPECT_THAT(std::string(tokens.status().message()), HasSubstr("ids.safetensors"));
    return std::string(tokens.status().message());
  }
};

TEST_F(TokenSafetensorsTest, BothWidths) {
  const int64_t wide[] = {1, 2, 3, 4, 5, 4095};
  const int32_t narrow[] = {1, 2, 3, 4, 5, 4095};
  const auto of = [](const char* dtype, int bytes) {
    return absl::StrCat("{\"ids\":{\"dtype\":\"", dtype, "\",\"shape\":[2,3],\"data_offsets\":[0,", bytes, "]}}");
  };
  for (const auto& tokens :
       {Make(Safetensors(of("I64", 48), std::string(reinterpret_cast<const char*>(wide), 48))),
        Make(Safetensors(of("I32", 24), std::string(reinterpret_cast<const char*>(narrow), 24)))}) {
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_EQ(tokens->sequences, 2);
    EXPECT_EQ(tokens->ids, (std::vector<int64_t>{1, 2, 3, 4, 5, 4095}));
  }
}

TEST_F(TokenSafetensorsTest, SaysWhatIsWrong) {
  const std::string data(48, '\0');
  EXPECT_THAT(ErrorOf("{\"a\":{\"dtype\":\"I64\",\"shape\":[2,2],\"data_offsets\":[0,32]},"
                      "\"b\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[32,48]}}",
                      data),
              HasSubstr("it has 2 tensors"));
  EXPECT_THAT(ErrorOf("{\"a\":{\"dtype\":\"F32\",\"shape\":[3,4],\"data_offsets\":[0,48]}}", data),
              HasSubstr("neither I64 nor I32"));
  EXPECT_THAT(ErrorOf("{\"a\":{\"dtype\":\"I64\",\"shape\":[6],\"data_offsets\":[0,48]}}", data),
              HasSubstr("1 dimensions"));
  EXPECT_THAT(ErrorOf("{\"a\":{\"dtype\":\"I64\",\"shape\":[2,0],\"data_offsets\":[0,0]}}", ""), HasSubstr("no ids"));
  EXPECT_THAT(ErrorOf("{\"a\":{\"dtype\":\"I64\",\"shape\":[2,4],\"data_offsets\":[0,48]}}", data),
              HasSubstr("not a .safetensors of token ids"));
  EXPECT_THAT(ErrorOf("not json", data), HasSubstr("not a .safetensors of token ids"));
  EXPECT_EQ(ErrorReason(Make("abc").status()), "INVALID_CALIBRATION_DATA");
  EXPECT_EQ(ErrorReason(Make(std::string(40, '\xFF')).status()), "INVALID_CALIBRATION_DATA");
}

}  // namespace
}  // namespace calipress::calibration
