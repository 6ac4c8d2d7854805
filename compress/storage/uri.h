#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace calipress::storage {

// A URI taken apart. Keys of object stores are taken as they stand; only file:// paths are percent-decoded.
struct Location {
  std::string scheme;     // "file", "s3", "gs" or "abfs"
  std::string authority;  // bucket or account, perhaps with credentials: never log it; empty for file
  std::string query;      // without '?'; empty for file
  std::string path;       // file: an absolute path; else the key without a leading slash; no slash at the end

  // One file system serves all URIs that agree in this.
  std::string FilesystemKey() const { return scheme + "://" + authority + "?" + query; }
};

// INVALID_REQUEST where CheckUri would say so.
absl::StatusOr<Location> ParseUri(std::string_view uri);

// A folder's URI in one spelling, with a slash at its end, for comparisons: "file:///a//b/../c/" and "/a/c" are one
// folder. By the text alone: links are not followed.
std::string FolderKey(std::string_view uri);

// A name that a reader never lists: what a local or rewriting writer fills before Close. Beside `path`.
std::string PartialPath(const std::string& path);
bool IsPartialPath(std::string_view path);

// The folder of a path without a slash at its end; "" at the top.
std::string ParentPath(const std::string& path);

}  // namespace calipress::storage
