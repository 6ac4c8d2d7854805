#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/random.h"
#include "compress/calibration/source.h"
#include "compress/calibration/token_ids_source.h"
#include "tests/unit/compress/calibration/testing_files.h"

namespace calipress::calibration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TokenMatrix Ids() { return {2, 3, {1, 2, 3, 4, 5, 4095}}; }

// A file as np.save writes it, with another header or version.
std::string File(const std::string& header, const std::string& data, char major = 1) {
  std::string bytes = "\x93NUMPY";
  bytes.append({major, '\0'});
  const uint32_t length = header.size();
  bytes.append(reinterpret_cast<const char*>(&length), major == 1 ? 2 : 4);
  return bytes + header + data;
}
constexpr char kHeader[] = "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }       \n";

std::string Data64() {
  const TokenMatrix ids = Ids();
  return std::string(reinterpret_cast<const char*>(ids.ids.data()), 48);
}

std::string ErrorOf(const std::string& bytes) {
  const auto tokens = ParseNpy(bytes);
  EXPECT_EQ(ErrorReason(tokens.status()), "INVALID_CALIBRATION_DATA") << tokens.status();
  return std::string(tokens.status().message());
}

TEST(ParseNpy, ReadsEveryVersionAndWidth) {
  for (const char major : {1, 2, 3}) {
    const auto tokens = ParseNpy(File(kHeader, Data64(), major));
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_EQ(tokens->sequences, 2);
    EXPECT_EQ(tokens->length, 3);
    EXPECT_EQ(tokens->ids, Ids().ids);
  }
  const int32_t narrow[] = {1, 2, 3, 4, 5, -1};
  const auto tokens = ParseNpy(File("{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<i4\"}",
                                    std::string(reinterpret_cast<const char*>(narrow), 24)));
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->ids, (std::vector<int64_t>{1, 2, 3, 4, 5, -1}));
}

// The bytes of np.save(np.array([[1, 2, 3], [4, 5, 4095]])), numpy 2.
TEST(FormatNpy, WritesWhatNumpyWrites) {
  const std::string bytes = FormatNpy(Ids());
  EXPECT_EQ(bytes.size(), 128u + 48);
  EXPECT_EQ(Sha256Of(bytes), "2bc90241a6c800febc654c73697c59cced050d0a9fac3cc857e360910787b826");
  EXPECT_EQ(ParseNpy(bytes)->ids, Ids().ids);
  // Headers of any length keep the data at a multiple of 64.
  for (int64_t sequences = 1; sequences < 2'000'000; sequences *= 10) {
    const std::string wide = FormatNpy({sequences, 1, std::vector<int64_t>(sequences, 7)});
    EXPECT_EQ((wide.size() - sequences * 8) % 64, 0u);
    EXPECT_TRUE(ParseNpy(wide).ok());
  }
}

TEST(ParseNpy, SaysWhatIsWrong) {
  const auto with = [](const std::string& from, const std::string& to) {
    return ErrorOf(File(absl::StrReplaceAll(kHeader, {{from, to}}), Data64()));
  };
  EXPECT_THAT(ErrorOf(""), HasSubstr("does not begin"));
  EXPECT_THAT(ErrorOf("PK\x03\x04 a zip archive"), HasSubstr("does not begin"));
  EXPECT_THAT(ErrorOf("\x93NUMPY"), HasSubstr("ends within"));
  EXPECT_THAT(ErrorOf(File(kHeader, Data64(), 4)), HasSubstr("version 4.0"));
  EXPECT_THAT(with("<i8", ">i8"), HasSubstr("little-endian int64 or int32"));
  EXPECT_THAT(with("<i8", "<f8"), HasSubstr("type is '<f8'"));
  EXPECT_THAT(with("<i8", "|O"), HasSubstr("type is '|O'"));
  EXPECT_THAT(with("False", "True"), HasSubstr("Fortran order"));
  EXPECT_THAT(with("(2, 3)", "(6,)"), HasSubstr("1 dimensions"));
  EXPECT_THAT(with("(2, 3)", "(2, 3, 1)"), HasSubstr("3 dimensions"));
  EXPECT_THAT(with("(2, 3)", "()"), HasSubstr("0 dimensions"));
  EXPECT_THAT(with("(2, 3)", "(0, 3)"), HasSubstr("no ids"));
  EXPECT_THAT(with("(2, 3)", "(2, 4)"), HasSubstr("does not go with its 48 bytes"));
  EXPECT_THAT(with("(2, 3)", "(2, 2)"), HasSubstr("does not go with"));
  EXPECT_THAT(with("(2, 3)", "(4294967296, 4294967296)"), HasSubstr("does not go with"));
  EXPECT_THAT(with("(2, 3)", "(2, 2305843009213693952)"), HasSubstr("does not go with"));
  for (const char* shape :
       {"(-2, -3)", "(2 3)", "(2, 3", "2, 3", "(2, x)", "(99999999999999999999, 1)", "(6)", "[2, 3]",
        "(2, 3), 'shape': (2, 3)", "(2, 3), 'extra': 1", "(2, 3), 'descr': '<i8'", "(,)"}) {
    EXPECT_THAT(with("(2, 3)", shape), HasSubstr("malformed")) << shape;
  }
  EXPECT_THAT(with("False", "0"), HasSubstr("malformed"));
  EXPECT_THAT(with("'descr': '<i8', ", ""), HasSubstr("malformed"));
  EXPECT_THAT(with("}", "} + 1"), HasSubstr("malformed"));
  EXPECT_THAT(ErrorOf(File(kHeader, Data64() + "x")), HasSubstr("does not go with"));
  std::string long_header = File(kHeader, "");
  long_header[9] = '\x7F';
  EXPECT_THAT(ErrorOf(long_header), HasSubstr("header says"));
}

// Any change of any byte, and any cut, either parses or is refused; sanitizers watch.
TEST(ParseNpy, SurvivesDamage) {
  const std::string good = File(kHeader, Data64());
  RandomStream random(1, 0);
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    for (uint64_t k = random.Below(3) + 1; k > 0; --k)
      bytes[random.Below(bytes.size())] = static_cast<char>(random.Next());
    if (random.Below(4) == 0) bytes.resize(random.Below(bytes.size()));
    const auto tokens = ParseNpy(bytes);
    if (tokens.ok()) {
      ASSERT_EQ(tokens->ids.size(), static_cast<size_t>(tokens->sequences * tokens->length));
    } else {
      ++refused;
    }
  }
  EXPECT_GT(refused, 5'000);
}

class TokenIdsTest : public FileTest {
 protected:
  v1::Calibration Calibration(const std::string& bytes) {
    v1::Calibration calibration;
    calibration.add_sources()->mutable_token_ids()->set_uri(Write("ids.npy", bytes));
    return calibration;
  }
  std::string ErrorOf(const v1::Calibration& calibration) {
    const auto tokens = MakeCalibrationTokens(calibration, Context());
    EXPECT_EQ(ErrorReason(tokens.status()), "INVALID_CALIBRATION_DATA") << tokens.status();
    EXPECT_THAT(std::string(tokens.status().message()), HasSubstr("ids.npy"));
    return std::string(tokens.status().message());
  }
};

TEST_F(TokenIdsTest, TakesTheFirstRows) {
  v1::Calibration calibration = Calibration(FormatNpy(Ids()));
  SourceContext context = Context();
  context.tokenizer = nullptr;
  EXPECT_EQ(MakeCalibrationTokens(calibration, context)->ids, Ids().ids);
  calibration.set_samples(1);
  calibration.set_sequence_length(3);
  const auto first = MakeCalibrationTokens(calibration, context);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->sequences, 1);
  EXPECT_EQ(first->ids, (std::vector<int64_t>{1, 2, 3}));
}

TEST_F(TokenIdsTest, PassesOverRows) {
  v1::Calibration calibration = Calibration(FormatNpy(Ids()));
  auto& source = *calibration.mutable_sources(0)->mutable_token_ids();
  source.set_first_row(1);
  EXPECT_EQ(MakeCalibrationTokens(calibration, Context())->ids, (std::vector<int64_t>{4, 5, 4095}));
  EXPECT_EQ(ReadTokenFileShape(Context().store, source)->sequences, 1);
  calibration.set_samples(2);
  EXPECT_THAT(ErrorOf(calibration), HasSubstr("has 1 sequences, and 2 are asked for"));
  source.set_first_row(2);
  EXPECT_THAT(ErrorOf(calibration), HasSubstr("has 2 rows, and token_ids.first_row passes over 2; lower it"));
  EXPECT_EQ(ErrorReason(ReadTokenFileShape(Context().store, source).status()), reason::kInvalidCalibrationData);
}

TEST_F(TokenIdsTest, SaysWhatDoesNotFit) {
  v1::Calibration calibration = Calibration(FormatNpy(Ids()));
  calibration.set_samples(3);
  EXPECT_THAT(ErrorOf(calibration), HasSubstr("has 2 sequences, and 3 are asked for"));
  calibration.set_samples(2);
  calibration.set_sequence_length(4);
  EXPECT_THAT(ErrorOf(calibration), HasSubstr("sequences of 3 tokens, and calibration.sequence_length is 4"));
  TokenMatrix ids = Ids();
  ids.ids[4] = 4096;
  EXPECT_THAT(ErrorOf(Calibration(FormatNpy(ids))),
              AllOf(HasSubstr("id 4096 in row 1, column 1"), HasSubstr("4096 (vocab")));
  ids.ids[4] = -1;
  EXPECT_THAT(ErrorOf(Calibration(FormatNpy(ids))), HasSubstr("id -1 in row 1, column 1"));
  EXPECT_THAT(ErrorOf(Calibration("junk")), HasSubstr("not a .npy"));
  EXPECT_THAT(ErrorOf(Calibration("")), HasSubstr("is empty"));
  calibration = Calibration(FormatNpy({1, 257, std::vector<int64_t>(257, 1)}));
  const auto tokens = MakeCalibrationTokens(calibration, Context());
  EXPECT_THAT(std::string(tokens.status().message()), HasSubstr("256 positions"));
}

TEST(Fingerprint, IsTheDigestOfTheIds) {
  EXPECT_EQ(Fingerprint(Ids()), Sha256Of(Data64()));
  TokenMatrix other = Ids();
  other.ids[5] = 0;
  EXPECT_NE(Fingerprint(other), Fingerprint(Ids()));
}

}  // namespace
}  // namespace calipress::calibration
