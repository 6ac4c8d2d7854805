#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/storage/object_store.h"

namespace calipress::assembly {

// The shards of one checkpoint, as the gang's workers reported them.
using Shards = std::vector<worker::v1::WrittenShard>;

// Checks the reports alone: file names are model.safetensors or model-0000i-of-0000n.safetensors with every i once, and
// together the shards hold each expected tensor once and nothing else. INTERNAL names what is wrong: a worker broke
// its contract.
absl::Status CheckShards(const Shards& shards, const std::map<std::string, std::vector<int64_t>>& expected);

// Where a shard is during publication.
enum class ShardPlace { kStaged, kPublished };

// Finds each shard (staged, or already moved by a publication that was cut short), and checks its size, names and
// shapes against its safetensors header. A shard that is in neither place or has another size is an environment error:
// storage may show it at the next try to publish.
absl::StatusOr<std::vector<ShardPlace>> LocateShards(storage::ObjectStore& store, const std::string& output_uri,
                                                     const Shards& shards,
                                                     const std::map<std::string, std::vector<int64_t>>& expected);

// model.safetensors.index.json: tensor -> file, and the bytes of all tensors.
std::string ShardIndex(const Shards& shards);

// Bytes of tensor data of all shards.
int64_t TensorBytes(const Shards& shards);

}  // namespace calipress::assembly
