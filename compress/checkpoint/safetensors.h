#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/arch/dtype.h"
#include "compress/storage/object_store.h"

namespace calipress::checkpoint {

// One tensor of a safetensors file; offsets are from the start of the file.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  int64_t offset = 0;
  int64_t bytes = 0;
};

// A parsed header: tensors in file order, and the metadata map.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
  int64_t header_bytes = 0;  // 8 + N: where the data starts
};

// Parses the N bytes of JSON of a file of `file_bytes` bytes. Refuses, by SOURCE_MODEL_CORRUPT with the tensor's name:
// sizes that overflow or disagree with shape and dtype, gaps, overlaps, data beyond the end, names that are not UTF-8
// or empty, duplicate names, metadata that is not strings, unknown dtypes. Untrusted bytes: fuzzed.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, int64_t file_bytes);

// Reads the length and header of a file by two range reads; header sizes above 100,000,000 are refused.
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(storage::ObjectReader& reader, std::string_view name);

// What a tensor to be written looks like.
struct TensorPlan {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
};
int64_t TensorBytes(const TensorPlan& plan);

// Writes one safetensors file by stream: the plan first, then every tensor's bytes in plan order. Holds no tensor.
// Header padded with spaces to 8 bytes, metadata {"format":"pt"}.
class SafetensorsWriter {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(storage::ObjectStore& store, const std::string& uri,
                                                                   std::vector<TensorPlan> plan);
  // The next bytes of the current tensor (any split); moves to the next tensor where it is full.
  absl::Status Append(const void* data, int64_t bytes);
  // An error where bytes are missing. The file is visible after it.
  absl::Status Close();
  // After Close.
  const std::string& sha256() const;
  int64_t file_bytes() const;
  ~SafetensorsWriter();

 private:
  struct State;
  explicit SafetensorsWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The tensors of a model folder: model.safetensors, or the shards of model.safetensors.index.json. Headers are read on
// Open; tensor bytes only on Read. Thread-safe after Open.
class ModelReader {
 public:
  // SOURCE_MODEL_NOT_FOUND where neither is there; SOURCE_MODEL_CORRUPT for a shard that the index names and the
  // folder lacks, a tensor that the index places wrongly, a shard name with '/' or "..", a malformed index.
  static absl::StatusOr<std::unique_ptr<ModelReader>> Open(storage::ObjectStore& store, const std::string& folder_uri);
  // One safetensors file on its own (a staged block).
  static absl::StatusOr<std::unique_ptr<ModelReader>> OpenFile(storage::ObjectStore& store, const std::string& uri);

  // Null where the model has no such tensor.
  const TensorInfo* Find(std::string_view name) const;
  absl::Status Read(const TensorInfo& tensor, void* data) const;
  // Part of a tensor: [begin, begin + bytes) of its data.
  absl::Status ReadPart(const TensorInfo& tensor, int64_t begin, int64_t bytes, void* data) const;
  // Sorted by name.
  const std::vector<TensorInfo>& tensors() const;
  int64_t total_bytes() const;
  ~ModelReader();

 private:
  struct State;
  explicit ModelReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace calipress::checkpoint
