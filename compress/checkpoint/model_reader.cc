#include <algorithm>
#include <map>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/json_nesting.h"
#include "compress/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {
namespace {

constexpr int64_t kIndexLimit = 256 << 20;
constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

// A shard's name is a file beside the index, nothing else.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of("/\\?#%") == std::string::npos &&
         name.find("..") == std::string::npos && name.find('\0') == std::string::npos;
}

// tensor -> shard, as the index says.
absl::StatusOr<std::map<std::string, std::string>> ParseIndex(const std::string& text) {
  if (NestsTooDeep(text)) return Corrupt(std::string(kIndexFile) + " nests too deep to be an index");
  const auto root = nlohmann::json::parse(text, nullptr, false);
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object()) {
    return Corrupt(std::string(kIndexFile) + " has no weight_map");
  }
  std::map<std::string, std::string> weights;
  for (const auto& [tensor, shard] : root["weight_map"].items()) {
    if (!shard.is_string() || !IsPlainFileName(shard.get<std::string>())) {
      return Corrupt(std::string(kIndexFile) + " places \"" + Printable(tensor) + "\" in " +
                     (shard.is_string() ? "\"" + Printable(shard.get<std::string>()) + "\"" : "something") +
                     ", which is not the name of a file in the model's folder ('/' and '..' are refused)");
    }
    weights[tensor] = shard.get<std::string>();
  }
  if (weights.empty()) return Corrupt(std::string(kIndexFile) + " has an empty weight_map");
  return weights;
}

}  // namespace

struct ModelReader::State {
  std::vector<std::unique_ptr<storage::ObjectReader>> shards;
  std::vector<std::string> shard_names;
  std::vector<TensorInfo> tensors;
  std::map<std::string, size_t, std::less<>> shard_of;
  int64_t total_bytes = 0;

  absl::Status AddShard(storage::ObjectStore& store, const std::string& uri, const std::string& name) {
    CALIPRESS_ASSIGN_OR_RETURN(auto reader, store.Open(uri));
    CALIPRESS_ASSIGN_OR_RETURN(SafetensorsHeader header, ReadSafetensorsHeader(*reader, name));
    for (TensorInfo& tensor : header.tensors) {
      const auto [place, fresh] = shard_of.emplace(tensor.name, shards.size());
      if (!fresh) {
        return Corrupt("tensor \"" + Printable(tensor.name) + "\" is in both " + shard_names[place->second] + " and " +
                       name);
      }
      total_bytes += tensor.bytes;
      tensors.push_back(std::move(tensor));
    }
    shards.push_back(std::move(reader));
    shard_names.push_back(name);
    return absl::OkStatus();
  }

  void Sort() {
    std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  }
};

ModelReader::ModelReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ModelReader::~ModelReader() = default;

absl::StatusOr<std::unique_ptr<ModelReader>> ModelReader::OpenFile(storage::ObjectStore& store,
                                                                   const std::string& uri) {
  auto state = std::make_unique<State>();
  CALIPRESS_RETURN_IF_ERROR(state->AddShard(store, uri, storage::RedactUri(uri)));
  state->Sort();
  return std::unique_ptr<ModelReader>(new ModelReader(std::move(state)));
}

absl::StatusOr<std::unique_ptr<ModelReader>> ModelReader::Open(storage::ObjectStore& store,
                                                               const std::string& folder_uri) {
  auto state = std::make_unique<State>();
  // The index decides: a folder with both belongs to the sharded model.
  auto index_text = store.ReadAll(storage::JoinUri(folder_uri, kIndexFile), kIndexLimit);
  if (absl::IsNotFound(index_text.status())) {
    const absl::Status single = state->AddShard(store, storage::JoinUri(folder_uri, kSingleFile), kSingleFile);
    if (absl::IsNotFound(single)) {
      return MakeError(absl::StatusCode::kNotFound, reason::kSourceModelNotFound, ErrorClass::kUser,
                       "neither " + std::string(kSingleFile) + " nor " + kIndexFile + " is in " +
                           storage::RedactUri(folder_uri) + ": give the folder of a Hugging Face model in safetensors");
    }
    CALIPRESS_RETURN_IF_ERROR(single);
    state->Sort();
    return std::unique_ptr<ModelReader>(new ModelReader(std::move(state)));
  }
  CALIPRESS_RETURN_IF_ERROR(index_text.status());
  CALIPRESS_ASSIGN_OR_RETURN(const auto weights, ParseIndex(*index_text));
  std::vector<std::string> names;
  names.reserve(weights.size());
  for (const auto& [tensor, shard] : weights) names.push_back(shard);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) {
    const absl::Status added = state->AddShard(store, storage::JoinUri(folder_uri, name), name);
    if (absl::IsNotFound(added)) {
      return Corrupt("shard " + name + " is named in " + kIndexFile + " but is not in " +
                     storage::RedactUri(folder_uri) + ": the download is incomplete, fetch the file again");
    }
    CALIPRESS_RETURN_IF_ERROR(added);
  }
  for (const auto& [tensor, shard] : weights) {
    const auto place = state->shard_of.find(tensor);
    if (place == state->shard_of.end() || state->shard_names[place->second] != shard) {
      return Corrupt(std::string(kIndexFile) + " places tensor \"" + Printable(tensor) + "\" in " + shard +
                     ", which does not hold it");
    }
  }
  state->Sort();
  return std::unique_ptr<ModelReader>(new ModelReader(std::move(state)));
}

const TensorInfo* ModelReader::Find(std::string_view name) const {
  const auto found = std::lower_bound(state_->tensors.begin(), state_->tensors.end(), name,
                                      [](const TensorInfo& tensor, std::string_view key) { return tensor.name < key; });
  return found != state_->tensors.end() && found->name == name ? &*found : nullptr;
}

absl::Status ModelReader::Read(const TensorInfo& tensor, void* data) const {
  return ReadPart(tensor, 0, tensor.bytes, data);
}

absl::Status ModelReader::ReadPart(const TensorInfo& tensor, int64_t begin, int64_t bytes, void* data) const {
  const auto place = state_->shard_of.find(tensor.name);
  if (place == state_->shard_of.end() || begin < 0 || bytes < 0 || begin > tensor.bytes ||
      bytes > tensor.bytes - begin) {
    return DefectError("a read outside tensor " + tensor.name);
  }
  if (bytes == 0) return absl::OkStatus();
  return Annotate(state_->shards[place->second]->ReadAt(tensor.offset + begin, bytes, data),
                  "tensor " + tensor.name + " of " + state_->shard_names[place->second]);
}

const std::vector<TensorInfo>& ModelReader::tensors() const { return state_->tensors; }
int64_t ModelReader::total_bytes() const { return state_->total_bytes; }

}  // namespace calipress::checkpoint
