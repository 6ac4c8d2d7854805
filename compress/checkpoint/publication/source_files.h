#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/storage/object_store.h"

namespace calipress::checkpoint {

// True for the names that a checkpoint takes over from its source as they are: tokenizer, chat template, generation
// defaults, code, licence. Never weights, never config.json.
bool IsCopiedFile(std::string_view name);

// True for names that loaders take for weights, whichever format they are in.
bool IsWeights(std::string_view name);

// The names directly in the source's folder that IsCopiedFile picks, sorted.
absl::StatusOr<std::vector<std::string>> CopiedFiles(storage::ObjectStore& store, const std::string& source_uri);

// Copies one of them. SOURCE_MODEL_CORRUPT above 100 MB: no such file is that large.
absl::Status CopyFile(storage::ObjectStore& store, const std::string& source_uri, const std::string& output_uri,
                      const std::string& name);

// The path of a listed object below `folder_uri`: "a/b.txt". Empty where it is not below it.
std::string NameBelow(std::string_view folder_uri, std::string_view uri);

}  // namespace calipress::checkpoint
