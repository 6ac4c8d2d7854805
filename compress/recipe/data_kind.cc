#include "compress/recipe/data_kind.h"

#include <cctype>
#include <string>

namespace calipress::recipe {
namespace {

std::string LowerName(std::string_view uri) {
  // A plain path may hold a '?'; a URI's begins its query.
  if (uri.find("://") != std::string_view::npos) uri = uri.substr(0, uri.find('?'));
  std::string name;
  for (const char c : uri.substr(uri.find_last_of('/') + 1))
    name.push_back(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

std::optional<storage::Packing> PackingOfName(std::string_view name) {
  if (name.ends_with(".jsonl.gz")) return storage::Packing::kGzip;
  if (name.ends_with(".jsonl.zst")) return storage::Packing::kZstd;
  if (name.ends_with(".jsonl.xz")) return storage::Packing::kXz;
  return std::nullopt;
}

}  // namespace

DataKind DataKindOf(std::string_view uri) {
  const std::string name = LowerName(uri);
  if (name.ends_with(".txt")) return DataKind::kText;
  if (name.ends_with(".jsonl") || PackingOfName(name)) return DataKind::kJsonLines;
  if (name.ends_with(".parquet")) return DataKind::kParquet;
  if (name.ends_with(".npy")) return DataKind::kNpy;
  if (name.ends_with(".safetensors")) return DataKind::kSafetensors;
  return DataKind::kUnknown;
}

std::optional<storage::Packing> PackingOf(std::string_view uri) { return PackingOfName(LowerName(uri)); }

}  // namespace calipress::recipe
