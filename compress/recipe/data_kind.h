#pragma once

#include <optional>
#include <string_view>

#include "compress/storage/unpack.h"

namespace calipress::recipe {

// What the name of a file of documents or ids says about its content. A URI's query is not part of the name.
enum class DataKind { kText, kJsonLines, kParquet, kNpy, kSafetensors, kUnknown };
// .txt, .jsonl (also with .gz, .zst or .xz behind it), .parquet, .npy, .safetensors; in any case.
DataKind DataKindOf(std::string_view uri);

// How a .jsonl is packed; none: it is not.
std::optional<storage::Packing> PackingOf(std::string_view uri);

inline bool IsDocuments(DataKind kind) {
  return kind == DataKind::kText || kind == DataKind::kJsonLines || kind == DataKind::kParquet;
}
inline bool IsTokenIds(DataKind kind) { return kind == DataKind::kNpy || kind == DataKind::kSafetensors; }

// For messages: the endings of documents.
inline constexpr std::string_view kDocumentEndings = ".txt, .jsonl (.gz, .zst, .xz) or .parquet";

}  // namespace calipress::recipe
