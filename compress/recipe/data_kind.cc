#include "compress/recipe/data_kind.h"

#include <cctype>
#include <string>

namespace calipress::recipe {

DataKind DataKindOf(std::string_view uri) {
  // A plain path may hold a '?'; a URI's begins its query.
  if (uri.find("://") != std::string_view::npos) uri = uri.substr(0, uri.find('?'));
  const size_t dot = uri.find_last_of("./");
  if (dot == std::string_view::npos || uri[dot] != '.') return DataKind::kUnknown;
  std::string extension;
  for (const char c : uri.substr(dot + 1)) extension.push_back(std::tolower(static_cast<unsigned char>(c)));
  if (extension == "txt") return DataKind::kText;
  if (extension == "jsonl") return DataKind::kJsonLines;
  if (extension == "npy") return DataKind::kTokenIds;
  return DataKind::kUnknown;
}

}  // namespace calipress::recipe
