#include "compress/storage/uri.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/storage/object_store.h"

namespace calipress::storage {
namespace {

constexpr std::string_view kPartialSuffix = ".calipress-partial";

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

// "s3" of "s3://...", in small letters; nothing where there is no "://" after a plausible scheme.
std::string RawScheme(std::string_view uri) {
  const size_t end = uri.find("://");
  if (end == std::string_view::npos || end == 0) return "";
  std::string scheme(uri.substr(0, end));
  for (char& c : scheme) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '+' && c != '-' && c != '.') return "";
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return scheme;
}

bool HasScheme(std::string_view uri) { return !RawScheme(uri).empty(); }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 && HexDigit(text[i + 2]) >= 0) {
      decoded += static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

// Only what would be read as something else.
std::string PercentEncode(std::string_view name) {
  std::string encoded;
  for (const char c : name) {
    if (c == '%') {
      encoded += "%25";
    } else if (c == '?') {
      encoded += "%3F";
    } else if (c == '#') {
      encoded += "%23";
    } else {
      encoded += c;
    }
  }
  return encoded;
}

absl::Status Malformed(std::string_view uri, std::string_view why) {
  return UserError(reason::kInvalidRequest, absl::StrCat("'", Absl(RedactUri(uri)), "': ", Absl(why)));
}

absl::Status CheckKey(std::string_view uri, std::string_view key) {
  size_t begin = 0;
  while (begin < key.size()) {
    const size_t end = std::min(key.find('/', begin), key.size());
    const std::string_view segment = key.substr(begin, end - begin);
    if (segment.empty()) return Malformed(uri, "the key has an empty segment ('//'): remove the extra slash");
    if (segment == "." || segment == "..") {
      return Malformed(uri, "object stores do not resolve '.' and '..': write the key out");
    }
    begin = end + 1;
  }
  return absl::OkStatus();
}

std::string WithoutTrailingSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

absl::StatusOr<Location> ParseLocal(std::string_view uri) {
  Location location;
  location.scheme = "file";
  std::string path(uri);
  if (HasScheme(uri)) {
    std::string_view rest = uri.substr(uri.find("://") + 3);
    if (rest.rfind("localhost/", 0) == 0) rest.remove_prefix(9);
    if (rest.empty() || rest[0] != '/') {
      return Malformed(uri, "a file URI needs an absolute path: write file:///folder/name");
    }
    if (rest.find_first_of("?#") != std::string_view::npos) {
      return Malformed(uri, "a file URI takes no query: write %3F for '?' and %23 for '#' in a name");
    }
    path = PercentDecode(rest);
    if (path.find('\0') != std::string::npos) return Malformed(uri, "the path holds a NUL");
  }
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return Malformed(uri, "the working folder cannot be read: give an absolute path");
  location.path = WithoutTrailingSlashes(absolute.string());
  return location;
}

}  // namespace

absl::StatusOr<Location> ParseUri(std::string_view uri) {
  if (uri.empty())
    return UserError(reason::kInvalidRequest, "the URI is empty: give a path or file://, s3://, gs://, abfs://");
  for (const char c : uri) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return UserError(reason::kInvalidRequest, "the URI holds a control character (a line end or NUL?)");
    }
  }
  const std::string scheme = UriScheme(uri);
  if (scheme.empty()) {
    return Malformed(uri, "unknown scheme: use a plain path, file://, s3://, gs:// or abfs://");
  }
  if (scheme == "file") {
    if (!HasScheme(uri) && uri.rfind("file:", 0) == 0) return Malformed(uri, "write file:///folder/name");
    return ParseLocal(uri);
  }
  Location location;
  location.scheme = scheme;
  std::string_view rest = uri.substr(uri.find("://") + 3);
  if (rest.find('#') != std::string_view::npos) return Malformed(uri, "'#' has no meaning in an object's URI");
  const size_t query = rest.find('?');
  if (query != std::string_view::npos) {
    location.query = std::string(rest.substr(query + 1));
    rest = rest.substr(0, query);
  }
  const size_t slash = std::min(rest.find('/'), rest.size());
  location.authority = std::string(rest.substr(0, slash));
  location.path = slash < rest.size() ? std::string(rest.substr(slash + 1)) : "";
  while (!location.path.empty() && location.path.back() == '/') location.path.pop_back();
  const size_t at = location.authority.rfind('@');
  const std::string_view host = at == std::string::npos ? std::string_view(location.authority)
                                                        : std::string_view(location.authority).substr(at + 1);
  if (host.empty()) {
    return Malformed(uri, scheme == "abfs" ? "no container: write abfs://container@account.dfs.core.windows.net/key"
                                           : "no bucket: write " + scheme + "://bucket/key");
  }
  if (host.find_first_of(" \"\\<>%") != std::string_view::npos) {
    return Malformed(uri, "the bucket's name has a character that no bucket may have");
  }
  CALIPRESS_RETURN_IF_ERROR(CheckKey(uri, location.path));
  return location;
}

std::string ParentPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return "";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string FolderKey(std::string_view uri) {
  std::string scheme = UriScheme(uri);
  std::string path(uri);
  if (const auto location = ParseUri(uri); location.ok()) {
    path = scheme == "file" ? location->path : absl::StrCat(location->authority, "/", location->path);
  }
  std::string normal = std::filesystem::path(path).lexically_normal().string();
  while (!normal.empty() && normal.back() == '/') normal.pop_back();
  return scheme + "://" + normal + "/";
}

std::string PartialPath(const std::string& path) {
  const size_t name = path.rfind('/') + 1;  // npos + 1 == 0
  // Names may have 255 bytes; the random part keeps two writers of one name apart.
  const std::string visible = path.substr(name, 180);
  return path.substr(0, name) + "." + visible + "." + RandomId() + std::string(kPartialSuffix);
}

bool IsPartialPath(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.size() > kPartialSuffix.size() && name[0] == '.' &&
         name.substr(name.size() - kPartialSuffix.size()) == kPartialSuffix;
}

std::string UriScheme(std::string_view uri) {
  if (uri.empty()) return "";
  const std::string scheme = RawScheme(uri);
  if (scheme.empty()) return uri.find("://") == 0 ? "" : "file";
  if (scheme == "file" || scheme == "s3" || scheme == "gs" || scheme == "abfs") return scheme;
  if (scheme == "gcs") return "gs";
  return scheme == "abfss" ? "abfs" : "";
}

absl::Status CheckUri(std::string_view uri) { return ParseUri(uri).status(); }

std::string JoinUri(std::string_view folder, std::string_view name) {
  const std::string scheme = HasScheme(folder) ? UriScheme(folder) : "";
  std::string query;
  if (!scheme.empty() && scheme != "file") {
    const size_t mark = folder.find('?');
    if (mark != std::string_view::npos) {
      query = std::string(folder.substr(mark));
      folder = folder.substr(0, mark);
    }
  }
  while (!name.empty() && name.front() == '/') name.remove_prefix(1);
  if (folder.empty()) return std::string(name) + query;
  const size_t floor = HasScheme(folder) ? folder.find("://") + 3 : 0;
  while (folder.size() > floor && folder.back() == '/') folder.remove_suffix(1);
  return absl::StrCat(Absl(folder), "/", scheme == "file" ? PercentEncode(name) : std::string(name), query);
}

std::string RedactUri(std::string_view uri) {
  if (!HasScheme(uri)) return std::string(uri);
  const size_t start = uri.find("://") + 3;
  std::string_view rest = uri.substr(start);
  rest = rest.substr(0, rest.find_first_of("?#"));
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, slash);
  std::string kept(uri.substr(0, start));
  // A secret may hold '@' itself, so the last one before the path ends the user's part.
  const size_t at = authority.rfind('@');
  if (at != std::string_view::npos) {
    // abfs names its container (or account) there: only what follows ':' is secret.
    const std::string_view user = authority.substr(0, at);
    const std::string_view name = user.substr(0, user.find(':'));
    if (UriScheme(uri) == "abfs" && !name.empty()) kept += std::string(name) + "@";
    authority = authority.substr(at + 1);
  }
  return absl::StrCat(kept, Absl(authority), Absl(rest.substr(slash)));
}

}  // namespace calipress::storage
