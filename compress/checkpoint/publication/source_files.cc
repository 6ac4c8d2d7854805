#include "compress/checkpoint/publication/source_files.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"

namespace calipress::checkpoint {
namespace {

constexpr int64_t kLargestCopy = 100'000'000;

constexpr std::array<std::string_view, 9> kNames = {"tokenizer.json",
                                                    "tokenizer_config.json",
                                                    "special_tokens_map.json",
                                                    "generation_config.json",
                                                    "tokenizer.model",
                                                    "vocab.json",
                                                    "merges.txt",
                                                    "added_tokens.json",
                                                    "vocab.txt"};

std::string_view WithoutQuery(std::string_view uri) {
  // A plain path may hold '?'; only URIs have queries.
  return uri.find("://") == std::string_view::npos ? uri : uri.substr(0, uri.find('?'));
}

}  // namespace

bool IsCopiedFile(std::string_view name) {
  // Anything else would be spelled differently in a file:// URI, and no loader asks for it.
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
  });
  if (!plain) return false;
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() || name.starts_with("chat_template.") ||
         name.starts_with("LICENSE") || (name.ends_with(".py") && name.size() > 3);
}

bool IsWeights(std::string_view name) {
  return name.ends_with(".safetensors") || name == "model.safetensors.index.json" || name.ends_with(".bin") ||
         name.ends_with(".gguf") || name.ends_with(".pt") || name.ends_with(".pth");
}

absl::StatusOr<std::vector<std::string>> CopiedFiles(storage::ObjectStore& store, const std::string& source_uri) {
  CALIPRESS_ASSIGN_OR_RETURN(const auto objects, store.List(source_uri));
  std::vector<std::string> names;
  for (const storage::ObjectInfo& object : objects) {
    const std::string name = NameBelow(source_uri, object.uri);
    if (name.find('/') == std::string::npos && IsCopiedFile(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status CopyFile(storage::ObjectStore& store, const std::string& source_uri, const std::string& output_uri,
                      const std::string& name) {
  const std::string from = storage::JoinUri(source_uri, name);
  CALIPRESS_ASSIGN_OR_RETURN(const storage::ObjectInfo info, store.Stat(from));
  if (info.size > kLargestCopy) {
    return PreconditionError(reason::kSourceModelCorrupt, absl::StrCat(storage::RedactUri(from), " has ", info.size,
                                                                       " bytes; at most ", kLargestCopy,
                                                                       " are copied beside a checkpoint. Move it "
                                                                       "out of the model's folder"));
  }
  CALIPRESS_ASSIGN_OR_RETURN(const std::string bytes, store.ReadAll(from, kLargestCopy));
  return store.WriteAll(storage::JoinUri(output_uri, name), bytes);
}

std::string NameBelow(std::string_view folder_uri, std::string_view uri) {
  folder_uri = WithoutQuery(folder_uri);
  uri = WithoutQuery(uri);
  while (folder_uri.ends_with('/')) folder_uri.remove_suffix(1);
  if (!uri.starts_with(folder_uri)) return "";
  uri.remove_prefix(folder_uri.size());
  if (!uri.starts_with('/')) return "";
  while (uri.starts_with('/')) uri.remove_prefix(1);
  return std::string(uri);
}

}  // namespace calipress::checkpoint
