// model.safetensors.index.json, with two good shards beside it, in memory.
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "compress/base/error.h"
#include "compress/checkpoint/safetensors.h"
#include "tests/fuzz/mutation_driver.h"

namespace {

using calipress::storage::ObjectInfo;
using calipress::storage::ObjectReader;
using calipress::storage::ObjectStore;
using calipress::storage::ObjectWriter;

class MemoryReader : public ObjectReader {
 public:
  explicit MemoryReader(const std::string& bytes) : bytes_(bytes) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  absl::Status ReadAt(int64_t offset, int64_t length, void* data) override {
    if (offset < 0 || length < 0 || offset + length > size()) std::abort();  // a reader of files must not ask for it
    bytes_.copy(static_cast<char*>(data), static_cast<size_t>(length), static_cast<size_t>(offset));
    return absl::OkStatus();
  }

 private:
  const std::string& bytes_;
};

class MemoryStore : public ObjectStore {
 public:
  std::map<std::string, std::string> files;

  absl::StatusOr<std::unique_ptr<ObjectReader>> Open(const std::string& uri) override {
    // Whatever the index says, nothing outside the folder is asked for.
    if (uri.rfind("/m/", 0) != 0 || uri.find('/', 3) != std::string::npos || uri.find("..") != std::string::npos) {
      std::abort();
    }
    const auto found = files.find(uri);
    if (found == files.end()) return absl::NotFoundError(uri);
    return std::make_unique<MemoryReader>(found->second);
  }
  absl::StatusOr<std::unique_ptr<ObjectWriter>> Create(const std::string&) override { std::abort(); }
  absl::StatusOr<ObjectInfo> Stat(const std::string& uri) override {
    if (files.count(uri) == 0) return absl::NotFoundError(uri);
    return ObjectInfo{uri, static_cast<int64_t>(files[uri].size()), false};
  }
  absl::StatusOr<std::vector<ObjectInfo>> List(const std::string&) override { return std::vector<ObjectInfo>{}; }
  absl::Status Move(const std::string&, const std::string&) override { std::abort(); }
  absl::Status Delete(const std::string&) override { std::abort(); }
  absl::Status DeleteFolder(const std::string&) override { std::abort(); }
};

std::string Shard(const std::string& tensor) {
  const std::string header = R"({")" + tensor + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  return file + header + "x";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  MemoryStore store;
  store.files["/m/1.safetensors"] = Shard("a");
  store.files["/m/2.safetensors"] = Shard("b");
  store.files["/m/model.safetensors.index.json"] = std::string(reinterpret_cast<const char*>(data), size);
  const auto model = calipress::checkpoint::ModelReader::Open(store, "/m");
  if (!model.ok()) return 0;
  for (const auto& tensor : (*model)->tensors()) {
    char byte = 0;
    if (!(*model)->Read(tensor, &byte).ok() || byte != 'x') std::abort();
  }
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
int main(int argc, char** argv) {
  return calipress::fuzz::Drive(
      argc, argv,
      {R"({"metadata":{"total_size":2},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})",
       R"({"weight_map":{"a":"1.safetensors"}})", R"({"weight_map":{"a":"/1.safetensors","b":"../m/2.safetensors"}})"});
}
#endif
