#include "client/cli/uri_argument.h"

#include <filesystem>
#include <system_error>

#include "compress/recipe/uris.h"

namespace calipress::cli {
namespace {

constexpr std::string_view kCollection = "compressionJobs/";

}  // namespace

std::string UriArgument(std::string_view text) {
  if (text.empty() || text.find("://") != std::string_view::npos) return std::string(text);
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(std::filesystem::path(text), error);
  if (error) return std::string(text);  // the current folder is gone; the server says what it thinks of the path
  std::string path = absolute.lexically_normal().string();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

void MakeUrisAbsolute(v1::Recipe* recipe) {
  recipe::ForEachUri(recipe, [](const std::string& /*field*/, std::string* uri) { *uri = UriArgument(*uri); });
}

std::string JobName(std::string_view text) {
  return text.substr(0, kCollection.size()) == kCollection ? std::string(text)
                                                           : std::string(kCollection) + std::string(text);
}

}  // namespace calipress::cli
