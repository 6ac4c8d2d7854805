// The first byte says what the others are: a packed file of rows, or a column of a Parquet file.
#include "compress/storage/text_column.h"
#include "compress/storage/unpack.h"
#include "tests/fuzz/mutation_driver.h"

namespace {

class Bytes : public calipress::storage::ObjectReader {
 public:
  explicit Bytes(std::string bytes) : bytes_(std::move(bytes)) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  absl::Status ReadAt(int64_t offset, int64_t length, void* data) override {
    if (offset < 0 || length < 0 || offset > size() || length > size() - offset) __builtin_trap();
    bytes_.copy(static_cast<char*>(data), length, offset);
    return absl::OkStatus();
  }

 private:
  const std::string bytes_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using calipress::storage::Packing;
  if (size == 0) return 0;
  Bytes bytes(std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  constexpr int64_t kLimit = 1 << 20;
  const auto unpack = [&](Packing packing) {
    const auto unpacked = calipress::storage::Unpack(bytes, packing, kLimit);
    if (unpacked.ok() && (*unpacked)->size() > kLimit) __builtin_trap();
  };
  switch (data[0] % 4) {
    case 0:
      unpack(Packing::kGzip);
      break;
    case 1:
      unpack(Packing::kZstd);
      break;
    case 2:
      unpack(Packing::kXz);
      break;
    default:
      (void)calipress::storage::ForEachText(bytes, "text", [](std::string_view, int64_t) { return absl::OkStatus(); });
  }
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
#include <fstream>
#include <iterator>

int main(int argc, char** argv) {
  std::vector<std::string> seeds;
  const std::string folder = CALIPRESS_SOURCE_DIR "/tests/unit/compress/calibration/packed/";
  int kind = 0;
  for (const char* name : {"rows.jsonl.gz", "rows.jsonl.zst", "rows.jsonl.xz", "rows.parquet"}) {
    std::ifstream file(folder + name, std::ios::binary);
    seeds.push_back(std::string(1, static_cast<char>(kind++)) + std::string(std::istreambuf_iterator<char>(file), {}));
  }
  return calipress::fuzz::Drive(argc, argv, seeds);
}
#endif
