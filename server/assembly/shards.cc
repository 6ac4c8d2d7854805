#include "server/assembly/shards.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"
#include "server/assembly/expected_tensors.h"

namespace calipress::assembly {
namespace {

using Expected = std::map<std::string, std::vector<int64_t>>;

// A few names and how many more: messages stay readable for a model with thousands of tensors.
std::string Some(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  const std::vector<std::string> shown(names.begin(), names.begin() + std::min(names.size(), kShown));
  std::string text = absl::StrJoin(shown, ", ");
  if (names.size() > kShown) absl::StrAppend(&text, " and ", names.size() - kShown, " more");
  return text;
}

std::set<std::string> FileNames(size_t count) {
  if (count == 1) return {"model.safetensors", "model-00001-of-00001.safetensors"};
  std::set<std::string> names;
  for (size_t i = 1; i <= count; ++i) names.insert(absl::StrFormat("model-%05d-of-%05d.safetensors", i, count));
  return names;
}

bool Fits(const std::vector<int64_t>& shape, const std::vector<int64_t>& wanted) {
  return std::equal(shape.begin(), shape.end(), wanted.begin(), wanted.end(),
                    [](int64_t size, int64_t expected) { return expected == kAnySize || size == expected; });
}

absl::Status CheckHeader(const checkpoint::SafetensorsHeader& header, const worker::v1::WrittenShard& shard,
                         const Expected& expected) {
  std::set<std::string> reported(shard.tensors().begin(), shard.tensors().end());
  int64_t bytes = 0;
  for (const checkpoint::TensorInfo& tensor : header.tensors) {
    if (reported.erase(tensor.name) == 0) {
      return DefectError(absl::StrCat("shard ", shard.file(), " holds ", tensor.name, ", which its writer left out"));
    }
    const auto wanted = expected.find(tensor.name);
    if (wanted == expected.end() || !Fits(tensor.shape, wanted->second)) {
      return DefectError(absl::StrCat("shard ", shard.file(), ": ", tensor.name, " has shape [",
                                      absl::StrJoin(tensor.shape, ", "), "], not [",
                                      wanted == expected.end() ? "" : absl::StrJoin(wanted->second, ", "), "]"));
    }
    bytes += tensor.bytes;
  }
  if (!reported.empty()) {
    return DefectError(absl::StrCat("shard ", shard.file(), " lacks ",
                                    Some(std::vector<std::string>(reported.begin(), reported.end()))));
  }
  if (bytes != shard.tensor_bytes()) {
    return DefectError(absl::StrCat("shard ", shard.file(), " holds ", bytes, " bytes of tensors, its writer reported ",
                                    shard.tensor_bytes()));
  }
  return absl::OkStatus();
}

// The size of a file, -1 where there is none.
absl::StatusOr<int64_t> SizeOf(storage::ObjectStore& store, const std::string& uri) {
  auto info = store.Stat(uri);
  if (absl::IsNotFound(info.status())) return -1;
  if (!info.ok()) return info.status();
  return info->is_folder ? -1 : info->size;
}

}  // namespace

absl::Status CheckShards(const Shards& shards, const Expected& expected) {
  if (shards.empty()) return DefectError("the workers reported success and no shard");
  std::set<std::string> names = FileNames(shards.size());
  std::map<std::string, std::string> owner;
  for (const auto& shard : shards) {
    if (names.erase(shard.file()) == 0) {
      return DefectError(absl::StrCat("shard '", shard.file(), "' is not one of the ", shards.size(),
                                      " names that a checkpoint of that many shards has, or it came twice"));
    }
    for (const std::string& tensor : shard.tensors()) {
      if (!expected.contains(tensor)) {
        return DefectError(absl::StrCat("shard ", shard.file(), " holds ", tensor, ", which the checkpoint has not"));
      }
      const auto [place, fresh] = owner.emplace(tensor, shard.file());
      if (!fresh) return DefectError(absl::StrCat(tensor, " is in both ", place->second, " and ", shard.file()));
    }
  }
  if (owner.size() == expected.size()) return absl::OkStatus();
  std::vector<std::string> missing;
  for (const auto& [tensor, shape] : expected) {
    if (!owner.contains(tensor)) missing.push_back(tensor);
  }
  return DefectError(absl::StrCat("no shard holds ", Some(missing)));
}

absl::StatusOr<std::vector<ShardPlace>> LocateShards(storage::ObjectStore& store, const std::string& output_uri,
                                                     const Shards& shards, const Expected& expected) {
  std::vector<ShardPlace> places;
  for (const auto& shard : shards) {
    const std::string target = storage::JoinUri(output_uri, shard.file());
    // Staged first: a target beside a staged file is the leftover of a copy that was cut short, or of an earlier try.
    CALIPRESS_ASSIGN_OR_RETURN(const int64_t staged, SizeOf(store, shard.uri()));
    int64_t found = staged;
    if (staged < 0) {
      CALIPRESS_ASSIGN_OR_RETURN(found, SizeOf(store, target));
    }
    const std::string& uri = staged < 0 ? target : shard.uri();
    if (found < 0) {
      return EnvironmentError(reason::kStorageUnavailable,
                              absl::StrCat("shard ", shard.file(), " is neither at ", storage::RedactUri(shard.uri()),
                                           ", where its worker wrote it, nor in the output"));
    }
    if (found != shard.bytes()) {
      return EnvironmentError(reason::kStorageUnavailable, absl::StrCat(storage::RedactUri(uri), " has ", found,
                                                                        " bytes; its worker wrote ", shard.bytes()));
    }
    CALIPRESS_ASSIGN_OR_RETURN(const auto reader, store.Open(uri));
    CALIPRESS_ASSIGN_OR_RETURN(const auto header, checkpoint::ReadSafetensorsHeader(*reader, shard.file()));
    CALIPRESS_RETURN_IF_ERROR(CheckHeader(header, shard, expected));
    places.push_back(staged < 0 ? ShardPlace::kPublished : ShardPlace::kStaged);
  }
  return places;
}

std::string ShardIndex(const Shards& shards) {
  nlohmann::json weight_map = nlohmann::json::object();
  for (const auto& shard : shards) {
    for (const std::string& tensor : shard.tensors()) weight_map[tensor] = shard.file();
  }
  const nlohmann::json index = {{"metadata", {{"total_size", TensorBytes(shards)}}}, {"weight_map", weight_map}};
  return index.dump(2) + "\n";
}

int64_t TensorBytes(const Shards& shards) {
  int64_t bytes = 0;
  for (const auto& shard : shards) bytes += shard.tensor_bytes();
  return bytes;
}

}  // namespace calipress::assembly
