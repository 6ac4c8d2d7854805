#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/calibration/documents.h"
#include "compress/storage/unpack.h"
#include "tests/unit/compress/calibration/testing_files.h"

namespace calipress::calibration {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PackedTest : public FileTest {
 protected:
  static std::string Packed(const std::string& name) {
    return std::string(CALIPRESS_SOURCE_DIR) + "/tests/unit/compress/calibration/packed/" + name;
  }

  std::vector<std::string> All(const std::string& uri, const std::string& field = "text") {
    auto documents = Documents::Open(*store_, uri, field);
    EXPECT_TRUE(documents.ok()) << documents.status();
    std::vector<std::string> all;
    if (!documents.ok()) return all;
    for (int64_t i = 0; i < (*documents)->size(); ++i) all.push_back((*documents)->Read(i).value());
    return all;
  }

  std::string ErrorOf(const std::string& name, const std::string& bytes, const std::string& field = "text") {
    const auto documents = Documents::Open(*store_, Write(name, bytes), field);
    EXPECT_EQ(ErrorReason(documents.status()), "INVALID_CALIBRATION_DATA") << documents.status();
    EXPECT_THAT(std::string(documents.status().message()), HasSubstr(name));
    return std::string(documents.status().message());
  }
};

TEST_F(PackedTest, EveryPackingGivesTheSameDocuments) {
  for (const char* name : {"rows.jsonl.gz", "rows.jsonl.zst", "rows.jsonl.xz", "rows.parquet", "coded.parquet"}) {
    EXPECT_THAT(All(Packed(name)),
                ElementsAre("One day a fox came.", "It was red, and so on. \xC3\xA4\xE2\x82\xAC", "The end."))
        << name;
  }
}

TEST_F(PackedTest, DamageIsTold) {
  const std::string gz = FileText(Packed("rows.jsonl.gz"));
  EXPECT_THAT(ErrorOf("a.jsonl.gz", "{\"text\": \"plain\"}"), HasSubstr("cannot be unpacked as gzip"));
  EXPECT_THAT(ErrorOf("a.jsonl.gz", gz.substr(0, gz.size() - 20)), HasSubstr("cannot be unpacked as gzip"));
  const std::string zst = FileText(Packed("rows.jsonl.zst"));
  EXPECT_THAT(ErrorOf("a.jsonl.zst", "plain"), HasSubstr("cannot be unpacked as zstd"));
  EXPECT_THAT(ErrorOf("a.jsonl.zst", zst.substr(0, zst.size() - 5)), HasSubstr("cannot be unpacked as zstd"));
  std::string xz = FileText(Packed("rows.jsonl.xz"));
  EXPECT_THAT(ErrorOf("a.jsonl.xz", "plain text that is no xz"), HasSubstr("it is no .xz file"));
  EXPECT_THAT(ErrorOf("a.jsonl.xz", xz.substr(0, xz.size() - 10)), HasSubstr("it is cut off"));
  xz[40] ^= 1;
  EXPECT_THAT(ErrorOf("a.jsonl.xz", xz), HasSubstr("its bytes are damaged"));
  const std::string parquet = FileText(Packed("rows.parquet"));
  EXPECT_THAT(ErrorOf("a.parquet", "plain"), HasSubstr("cannot be read as Parquet"));
  EXPECT_THAT(ErrorOf("a.parquet", parquet.substr(0, parquet.size() / 2)), HasSubstr("cannot be read as Parquet"));
  EXPECT_THAT(ErrorOf("a.parquet", parquet, "body"), HasSubstr("has no column 'body'; its columns are id, text"));
  EXPECT_THAT(ErrorOf("a.parquet", parquet, "id"), HasSubstr("column 'id' holds int64; it must hold texts"));
  EXPECT_THAT(ErrorOf("a.parquet", FileText(Packed("damaged_text.parquet"))),
              HasSubstr("row 2: not valid UTF-8 at byte 1"));
}

TEST_F(PackedTest, BombsAreBounded) {
  const auto reader = store_->Open(Packed("bomb.jsonl.xz"));
  ASSERT_TRUE(reader.ok());
  const auto unpacked = storage::Unpack(**reader, storage::Packing::kXz, /*limit=*/1 << 20);
  EXPECT_EQ(ErrorReason(unpacked.status()), "INVALID_CALIBRATION_DATA");
  EXPECT_THAT(std::string(unpacked.status().message()), HasSubstr("unpacks to more than 1048576 bytes"));
  // Above what is kept in memory, through a temporary file: one line without an end.
  EXPECT_THAT(ErrorOf("bomb.jsonl.xz", FileText(Packed("bomb.jsonl.xz"))),
              HasSubstr("line 1 has more than 67108864 bytes"));
}

}  // namespace
}  // namespace calipress::calibration
