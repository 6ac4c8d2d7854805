#include <algorithm>
#include <functional>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {
namespace {

constexpr int64_t kHeaderLimit = 100'000'000;
constexpr size_t kDimensionLimit = 16;

using Json = nlohmann::json;

// nlohmann keeps the last of two equal keys; a header must not have two.
class DuplicateKeys {
 public:
  bool operator()(int /*depth*/, Json::parse_event_t event, Json& parsed) {
    switch (event) {
      case Json::parse_event_t::object_start:
        open_.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        if (!open_.empty()) open_.pop_back();
        break;
      case Json::parse_event_t::key:
        if (!open_.empty() && !open_.back().insert(parsed.get<std::string>()).second && found_.empty()) {
          found_ = parsed.get<std::string>();
        }
        break;
      default:
        break;
    }
    return true;
  }
  const std::string& found() const { return found_; }

 private:
  std::vector<std::set<std::string>> open_;
  std::string found_;
};

// A non-negative integer that fits; anything else is refused.
bool ReadSize(const Json& value, int64_t* size) {
  if (!value.is_number_unsigned() && !value.is_number_integer()) return false;
  if (value.is_number_unsigned()) {
    const uint64_t read = value.get<uint64_t>();
    if (read > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return false;
    *size = static_cast<int64_t>(read);
    return true;
  }
  *size = value.get<int64_t>();
  return *size >= 0;
}

absl::Status ReadEntry(const std::string& name, const Json& entry, TensorInfo* tensor) {
  const std::string who = "tensor \"" + Printable(name) + "\"";
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets") ||
      entry.size() != 3) {
    return Corrupt(who + " must have exactly dtype, shape and data_offsets");
  }
  tensor->name = name;
  const auto dtype = entry["dtype"].is_string() ? DtypeFromName(entry["dtype"].get<std::string>()) : std::nullopt;
  if (!dtype) return Corrupt(who + " has the unknown dtype " + Printable(entry["dtype"].dump(-1, ' ', true, Json::error_handler_t::replace)));
  tensor->dtype = *dtype;
  if (!entry["shape"].is_array() || entry["shape"].size() > kDimensionLimit) {
    return Corrupt(who + ": shape is not a list of at most 16 sizes");
  }
  int64_t bytes = DtypeBytes(*dtype);
  for (const Json& dimension : entry["shape"]) {
    int64_t size = 0;
    if (!ReadSize(dimension, &size)) return Corrupt(who + ": shape has an entry that is not a size");
    tensor->shape.push_back(size);
    if (__builtin_mul_overflow(bytes, size, &bytes)) return Corrupt(who + ": its shape overflows");
  }
  const Json& offsets = entry["data_offsets"];
  int64_t begin = 0, end = 0;
  if (!offsets.is_array() || offsets.size() != 2 || !ReadSize(offsets[0], &begin) || !ReadSize(offsets[1], &end) ||
      end < begin) {
    return Corrupt(who + ": data_offsets is not [begin, end]");
  }
  if (end - begin != bytes) {
    return Corrupt(absl::StrCat(who, " holds ", end - begin, " bytes, but its shape and dtype make ", bytes));
  }
  tensor->offset = begin;
  tensor->bytes = bytes;
  return absl::OkStatus();
}

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
  DuplicateKeys duplicates;
  const Json root = Json::parse(json, std::ref(duplicates), /*allow_exceptions=*/false);
  if (root.is_discarded() || !root.is_object()) return Corrupt("the header is not JSON in UTF-8");
  if (!duplicates.found().empty()) {
    return Corrupt("the header names \"" + Printable(duplicates.found()) + "\" twice");
  }
  SafetensorsHeader header;
  header.header_bytes = 8 + static_cast<int64_t>(json.size());
  for (const auto& [name, entry] : root.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) return Corrupt("__metadata__ is not an object");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) return Corrupt("__metadata__ entry \"" + Printable(key) + "\" is not text");
        header.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    if (name.empty()) return Corrupt("a tensor has an empty name");
    CALIPRESS_RETURN_IF_ERROR(ReadEntry(name, entry, &header.tensors.emplace_back()));
  }
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  // Tensors tile the data: no gap, no overlap, nothing after the last.
  int64_t expected = 0;
  for (TensorInfo& tensor : header.tensors) {
    const std::string who = "tensor \"" + Printable(tensor.name) + "\"";
    if (tensor.offset != expected) {
      return Corrupt(absl::StrCat(who, tensor.offset < expected ? " overlaps its predecessor" : " leaves a gap before it",
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
