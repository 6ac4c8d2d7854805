#include "compress/checkpoint/safetensors.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"

namespace calipress::checkpoint {
namespace {

using testing::HasSubstr;

class Safetensors : public testing::Test {
 protected:
  Safetensors() : folder_(std::filesystem::path(testing::TempDir()) / ("safetensors" + std::to_string(getpid()))) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~Safetensors() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  // One file with a float and an int64 tensor.
  void Write(const std::string& name, const std::string& prefix) {
    auto writer = SafetensorsWriter::Create(
        *store_, Path(name),
        {{prefix + "a", Dtype::kF32, {2, 3}}, {prefix + "e", Dtype::kF32, {0}}, {prefix + "b", Dtype::kI64, {2}}});
    ASSERT_TRUE(writer.ok()) << writer.status();
    const float a[6] = {1, 2, 3, 4, 5, 6};
    const int64_t b[2] = {7, 8};
    ASSERT_TRUE((*writer)->Append(a, 10).ok());  // any split
    ASSERT_TRUE((*writer)->Append(reinterpret_cast<const char*>(a) + 10, 14).ok());
    ASSERT_TRUE((*writer)->Append(b, 16).ok());
    ASSERT_TRUE((*writer)->Close().ok());
    EXPECT_EQ((*writer)->file_bytes(), static_cast<int64_t>(std::filesystem::file_size(Path(name))));
  }

  std::filesystem::path folder_;
  std::unique_ptr<storage::ObjectStore> store_ = storage::OpenObjectStore();
};

TEST_F(Safetensors, WritesWhatItReads) {
  Write("model.safetensors", "");
  auto reader = ModelReader::Open(*store_, folder_.string());
  ASSERT_TRUE(reader.ok()) << reader.status();
  const TensorInfo* b = (*reader)->Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->offset % 8, 0);
  int64_t values[2];
  ASSERT_TRUE((*reader)->Read(*b, values).ok());
  EXPECT_EQ(values[1], 8);
  int64_t second = 0;
  ASSERT_TRUE((*reader)->ReadPart(*b, 8, 8, &second).ok());
  EXPECT_EQ(second, 8);
  EXPECT_EQ((*reader)->Find("c"), nullptr);
  EXPECT_EQ((*reader)->total_bytes(), 24 + 16);
}

TEST_F(Safetensors, AnUnfinishedFileIsNotThere) {
  {
    auto writer = SafetensorsWriter::Create(*store_, Path("x.safetensors"), {{"a", Dtype::kF32, {2}}});
    ASSERT_TRUE(writer.ok());
    EXPECT_EQ((*writer)->Close().code(), absl::StatusCode::kInternal);
  }
  EXPECT_FALSE(std::filesystem::exists(Path("x.safetensors")));
}

TEST_F(Safetensors, ShardsByIndex) {
  Write("model-00001-of-00002.safetensors", "x.");
  Write("model-00002-of-00002.safetensors", "y.");
  auto index = [&](const std::string& text) { std::ofstream(Path("model.safetensors.index.json")) << text; };
  index(R"({"weight_map":{"x.a":"model-00001-of-00002.safetensors","y.b":"model-00002-of-00002.safetensors"}})");
  auto reader = ModelReader::Open(*store_, folder_.string());
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->tensors().size(), 6u);

  auto fails = [&](const std::string& text, const std::string& words) {
    index(text);
    const auto status = ModelReader::Open(*store_, folder_.string()).status();
    EXPECT_EQ(ErrorReason(status), "SOURCE_MODEL_CORRUPT") << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  };
  fails(R"({"weight_map":{"x.a":"model-00003-of-00003.safetensors"}})", "model-00003-of-00003.safetensors is named in");
  fails(R"({"weight_map":{"x.a":"../secret.safetensors"}})", "'/' and '..' are refused");
  fails(R"({"weight_map":{"x.a":"/etc/passwd"}})", "'/' and '..' are refused");
  fails(R"({"weight_map":{"x.a":"model-00002-of-00002.safetensors"}})", "does not hold it");
  fails(R"({"weight_map":{"x.a":3}})", "x.a");
  fails(R"({"weight_map":[]})", "no weight_map");
  fails("{", "no weight_map");
}

TEST_F(Safetensors, NothingThere) {
  const auto status = ModelReader::Open(*store_, folder_.string()).status();
  EXPECT_EQ(ErrorReason(status), "SOURCE_MODEL_NOT_FOUND");
  EXPECT_THAT(std::string(status.message()), HasSubstr("model.safetensors.index.json"));
}

// Each header describes 16 bytes of data, but for what is wrong with it.
TEST(SafetensorsHeader, RefusesWhatIsWrong) {
  auto parse = [](const std::string& json, int64_t data = 16) {
    return ParseSafetensorsHeader(json, 8 + static_cast<int64_t>(json.size()) + data).status();
  };
  const std::string good = R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})";
  ASSERT_TRUE(parse(good).ok()) << parse(good);
  ASSERT_TRUE(parse(good + "   ").ok());
  const std::pair<std::string, std::string> bad[] = {
      {R"({"a":{"dtype":"F33","shape":[4],"data_offsets":[0,16]}})", "dtype"},
      {R"({"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})", "not a size"},
      {R"({"a":{"dtype":"F32","shape":[4.0],"data_offsets":[0,16]}})", "not a size"},
      {R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}})", "shape and dtype make 20"},
      {R"({"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,16]}})", "overflows"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,16]}})", "not a size"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}})", "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}})", "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[4,20]}})", "gap"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"U8","shape":[4],"data_offsets":[12,16]}})",
       "overlaps"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})", "follow the last tensor"},
      {R"({"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}})", "truncated"},
      {R"({"":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", "empty name"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
       "twice"},
      {R"({"__metadata__":{"format":1},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", "not text"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"more":1}})", "exactly"},
      {"[]", "'{'"},
      {" {}", "'{'"},
      {"{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", "UTF-8"},
      {good + std::string(1, '\0'), "JSON"},
      {"{\"a\":", "JSON"},
      {R"({"a":{"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]}})", "twice"},
      {R"({"a":{"dtype":"F32","shape":[4]}})", "exactly"},
      {R"({"a":{"dtype":"F32","shape":[[4]],"data_offsets":[0,16]}})", "not a size"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8,16]}})", "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0]}})", "data_offsets"},
      {R"({"a":[]})", "exactly"},
      {R"({"a":null})", "exactly"},
      {R"({"__metadata__":[]})", "not an object"},
      {R"({"__metadata__":{"x":{}}})", "not text"},
      {R"({"__metadata__":{},"__metadata__":{}})", "twice"},
  };
  for (const auto& [json, words] : bad) {
    const absl::Status status = parse(json);
    EXPECT_EQ(ErrorReason(status), "SOURCE_MODEL_CORRUPT") << json << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words)) << json;
  }
}

// A parser that keeps or walks such values by recursion ends the process.
TEST(SafetensorsHeader, HostileNestingAndLengthAreRefused) {
  for (const std::string& value :
       {std::string(3'000'000, '['), std::string(2'000'000, '[') + std::string(2'000'000, ']'),
        "{\"x\":" + std::string(2'000'000, '[')}) {
    for (const char* key : {"dtype", "shape", "data_offsets", "other"}) {
      const std::string json = std::string("{\"a\":{\"") + key + "\":" + value;
      EXPECT_EQ(ErrorReason(ParseSafetensorsHeader(json, 8 + static_cast<int64_t>(json.size())).status()),
                "SOURCE_MODEL_CORRUPT");
    }
  }
  const std::string whole = "{\"a\":{\"dtype\":" + std::string(2'000'000, '[') + std::string(2'000'000, ']') +
                            ",\"shape\":[],\"data_offsets\":[0,0]}}";
  EXPECT_EQ(ErrorReason(ParseSafetensorsHeader(whole, 8 + static_cast<int64_t>(whole.size())).status()),
            "SOURCE_MODEL_CORRUPT");
  std::string shape = "1";
  for (int i = 0; i < 1'000'000; ++i) shape += ",1";
  const std::string json = "{\"a\":{\"dtype\":\"F32\",\"shape\":[" + shape + "],\"data_offsets\":[0,4]}}";
  const absl::Status status = ParseSafetensorsHeader(json, 12 + static_cast<int64_t>(json.size())).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("at most 16 sizes"));
}

TEST(SafetensorsHeader, TruncatedAndOversizedFiles) {
  class Bytes : public storage::ObjectReader {
   public:
    explicit Bytes(std::string bytes) : bytes_(std::move(bytes)) {}
    int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
    absl::Status ReadAt(int64_t offset, int64_t length, void* data) override {
      EXPECT_LE(offset + length, size());
      bytes_.copy(static_cast<char*>(data), static_cast<size_t>(length), static_cast<size_t>(offset));
      return absl::OkStatus();
    }

   private:
    std::string bytes_;
  };
  const auto with_length = [](uint64_t length) {
    std::string bytes(8, '\0');
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
    return bytes + "{}";
  };
  for (const std::string& file : {std::string(), std::string(7, 'x'), with_length(3), with_length(100'000'001),
                                  with_length(uint64_t{1} << 63), with_length(~uint64_t{0})}) {
    Bytes bytes(file);
    const absl::Status status = ReadSafetensorsHeader(bytes, "shard-7").status();
    EXPECT_EQ(ErrorReason(status), "SOURCE_MODEL_CORRUPT") << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("shard-7"));
  }
  Bytes good(with_length(2));
  EXPECT_TRUE(ReadSafetensorsHeader(good, "x").ok());
}

}  // namespace
}  // namespace calipress::checkpoint
