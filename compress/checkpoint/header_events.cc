#include "compress/checkpoint/header_events.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/checkpoint/corrupt.h"

namespace calipress::checkpoint {
namespace {

constexpr size_t kDimensionLimit = 16;
constexpr char kMetadataName[] = "__metadata__";

}  // namespace

bool HeaderEvents::Fail(std::string why) {
  if (problem.empty()) problem = std::move(why);
  return false;
}

std::string HeaderEvents::Who() const { return "tensor \"" + Printable(entry_.name) + "\""; }

bool HeaderEvents::Unexpected() {
  switch (place_) {
    case Place::kStart:
    case Place::kTop:
      return Fail(Who() + " must have exactly dtype, shape and data_offsets");
    case Place::kMetadata:
      return Fail(std::string(kMetadataName) + " is not an object");
    case Place::kMetadataValue:
      return Fail(absl::StrCat(kMetadataName, " entry \"", Printable(metadata_key_), "\" is not text"));
    case Place::kEntry:
      return Fail(Who() + " must have exactly dtype, shape and data_offsets");
    case Place::kDtype:
      return Fail(Who() + ": dtype is not text");
    case Place::kShape:
      return Fail(absl::StrCat(Who(), ": shape is not a list of at most ", kDimensionLimit, " sizes"));
    case Place::kShapeItem:
      return Fail(Who() + ": shape has an entry that is not a size");
    case Place::kOffsets:
    case Place::kOffsetItem:
      return Fail(Who() + ": data_offsets is not [begin, end]");
  }
  return false;
}

bool HeaderEvents::key(std::string& key) {
  switch (place_) {
    case Place::kTop:
      if (!names_.insert(key).second) return Fail("the header names \"" + Printable(key) + "\" twice");
      if (key == kMetadataName) {
        place_ = Place::kMetadata;
        return true;
      }
      if (key.empty()) return Fail("a tensor has an empty name");
      entry_ = TensorInfo{};
      entry_.name = key;
      has_dtype_ = has_shape_ = has_offsets_ = false;
      offset_count_ = 0;
      return true;
    case Place::kMetadataValue:
      if (header.metadata.count(key) > 0) return Fail("the header names \"" + Printable(key) + "\" twice");
      metadata_key_ = key;
      return true;
    case Place::kEntry: {
      bool* seen = key == "dtype" ? &has_dtype_ : key == "shape" ? &has_shape_ : &has_offsets_;
      if (seen == &has_offsets_ && key != "data_offsets") return Unexpected();
      if (std::exchange(*seen, true)) return Fail(absl::StrCat(Who(), " names \"", key, "\" twice"));
      place_ = key == "dtype" ? Place::kDtype : key == "shape" ? Place::kShape : Place::kOffsets;
      return true;
    }
    default:
      return Unexpected();
  }
}

bool HeaderEvents::string(std::string& value) {
  if (place_ == Place::kMetadataValue) {
    header.metadata[metadata_key_] = std::move(value);
    return true;
  }
  if (place_ != Place::kDtype) return Unexpected();
  const auto dtype = DtypeFromName(value);
  if (!dtype) return Fail(Who() + " has the unknown dtype \"" + Printable(value) + "\"");
  entry_.dtype = *dtype;
  place_ = Place::kEntry;
  return true;
}

bool HeaderEvents::Size(uint64_t value) {
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return Unexpected();
  if (place_ == Place::kShapeItem) {
    if (entry_.shape.size() >= kDimensionLimit) {
      place_ = Place::kShape;
      return Unexpected();
    }
    entry_.shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (place_ != Place::kOffsetItem || offset_count_ >= 2) return Unexpected();
  offsets_[offset_count_++] = static_cast<int64_t>(value);
  return true;
}

bool HeaderEvents::number_unsigned(uint64_t value) { return Size(value); }
// The parser hands over negative numbers alone here.
bool HeaderEvents::number_integer(int64_t value) {
  return value < 0 ? Unexpected() : Size(static_cast<uint64_t>(value));
}
bool HeaderEvents::number_float(double, const std::string&) { return Unexpected(); }
bool HeaderEvents::boolean(bool) { return Unexpected(); }
bool HeaderEvents::null() { return Unexpected(); }
bool HeaderEvents::binary(nlohmann::json::binary_t&) { return Unexpected(); }

bool HeaderEvents::start_object(size_t) {
  switch (place_) {
    case Place::kStart:
      place_ = Place::kTop;
      return true;
    case Place::kTop:
      place_ = Place::kEntry;
      return true;
    case Place::kMetadata:
      place_ = Place::kMetadataValue;
      return true;
    default:
      return Unexpected();
  }
}

bool HeaderEvents::end_object() {
  if (place_ == Place::kEntry) return Finish();
  place_ = place_ == Place::kMetadataValue ? Place::kTop : Place::kStart;
  return true;
}

bool HeaderEvents::start_array(size_t) {
  if (place_ == Place::kShape) {
    place_ = Place::kShapeItem;
  } else if (place_ == Place::kOffsets) {
    place_ = Place::kOffsetItem;
  } else {
    return Unexpected();
  }
  return true;
}

bool HeaderEvents::end_array() {
  if (place_ == Place::kOffsetItem && (offset_count_ != 2 || offsets_[1] < offsets_[0])) return Unexpected();
  place_ = Place::kEntry;
  return true;
}

bool HeaderEvents::Finish() {
  if (!has_dtype_ || !has_shape_ || !has_offsets_) return Unexpected();
  int64_t bytes = DtypeBytes(entry_.dtype);
  for (const int64_t size : entry_.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return Fail(Who() + ": its shape overflows");
  }
  if (offsets_[1] - offsets_[0] != bytes) {
    return Fail(
        absl::StrCat(Who(), " holds ", offsets_[1] - offsets_[0], " bytes, but its shape and dtype make ", bytes));
  }
  entry_.offset = offsets_[0];
  entry_.bytes = bytes;
  header.tensors.push_back(std::move(entry_));
  entry_ = TensorInfo{};
  place_ = Place::kTop;
  return true;
}

bool HeaderEvents::parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
  // The library's text quotes the bytes as they are, which need not be UTF-8.
  return Fail(absl::StrCat("the header is not JSON in UTF-8 (at its byte ", position, ")"));
}

}  // namespace calipress::checkpoint
