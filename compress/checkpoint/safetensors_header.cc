#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/header_events.h"
#include "compress/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {
namespace {

constexpr int64_t kHeaderLimit = 100'000'000;

}  // namespace

std::string Printable(std::string_view text) {
  std::string printable;
  for (const char c : text.substr(0, 200)) {
    printable += static_cast<unsigned char>(c) < ' ' || static_cast<unsigned char>(c) > '~' ? '?' : c;
  }
  return text.size() > 200 ? printable + "..." : printable;
}

absl::Status Corrupt(std::string_view message) { return PreconditionError(reason::kSourceModelCorrupt, message); }

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, int64_t file_bytes) {
  if (json.empty() || json.front() != '{') return Corrupt("the header does not start with '{'");
  // The parser takes a NUL for the end of its input; the format does not.
  if (json.find('\0') != std::string_view::npos) return Corrupt("the header is not JSON in UTF-8: it has a NUL byte");
  if (static_cast<int64_t>(json.size()) > file_bytes - 8) return Corrupt("the header is longer than the file");
  HeaderEvents events;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &events) || !events.problem.empty()) {
    return Corrupt(events.problem.empty() ? "the header is not JSON in UTF-8" : events.problem);
  }
  SafetensorsHeader header = std::move(events.header);
  header.header_bytes = 8 + static_cast<int64_t>(json.size());
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  // Tensors tile the data: no gap, no overlap, nothing after the last.
  int64_t expected = 0;
  for (TensorInfo& tensor : header.tensors) {
    const std::string who = "tensor \"" + Printable(tensor.name) + "\"";
    if (tensor.offset != expected) {
      return Corrupt(absl::StrCat(who,
                                  tensor.offset < expected ? " overlaps its predecessor" : " leaves a gap before it",
                                  " (starts at ", tensor.offset, ", expected ", expected, ")"));
    }
    expected = tensor.offset + tensor.bytes;
    if (expected > file_bytes - header.header_bytes) {
      return Corrupt(absl::StrCat(who, " ends at byte ", expected, " of the data, but the file has only ",
                                  file_bytes - header.header_bytes, ": the file is truncated"));
    }
    tensor.offset += header.header_bytes;
  }
  if (expected != file_bytes - header.header_bytes) {
    return Corrupt(absl::StrCat(file_bytes - header.header_bytes - expected, " bytes follow the last tensor"));
  }
  return header;
}

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(storage::ObjectReader& reader, std::string_view name) {
  const std::string who(name);
  if (reader.size() < 8) return Corrupt(who + ": shorter than a safetensors header");
  unsigned char raw[8];
  CALIPRESS_RETURN_IF_ERROR(Annotate(reader.ReadAt(0, 8, raw), who));
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | raw[i];
  if (length > static_cast<uint64_t>(kHeaderLimit) || static_cast<int64_t>(length) > reader.size() - 8) {
    return Corrupt(absl::StrCat(who, ": claims a header of ", length, " bytes in a file of ", reader.size(),
                                " (at most 100,000,000 are allowed)"));
  }
  std::string json(length, '\0');
  CALIPRESS_RETURN_IF_ERROR(Annotate(reader.ReadAt(8, static_cast<int64_t>(length), json.data()), who));
  auto header = ParseSafetensorsHeader(json, reader.size());
  if (!header.ok()) return Annotate(header.status(), who);
  return header;
}

}  // namespace calipress::checkpoint
