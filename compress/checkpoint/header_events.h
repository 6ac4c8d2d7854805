#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "compress/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {

// Takes a safetensors header's JSON as events, entry by entry: memory follows the entries that are well-formed, never
// the nesting or the length of what a hostile file holds. Sizes are checked against shape and dtype; that the entries
// tile the file is the caller's to check. Every callback returns false to stop, with `problem` set.
class HeaderEvents {
 public:
  // Offsets still relative to the start of the data; in the order of the JSON.
  SafetensorsHeader header;
  // What is wrong, fit for a message; empty while all is well.
  std::string problem;

  bool key(std::string& key);
  bool string(std::string& value);
  bool number_unsigned(uint64_t value);
  bool number_integer(int64_t value);
  bool number_float(double value, const std::string& text);
  bool boolean(bool value);
  bool null();
  bool binary(nlohmann::json::binary_t& value);
  bool start_object(size_t size);
  bool end_object();
  bool start_array(size_t size);
  bool end_array();
  bool parse_error(size_t position, const std::string& token, const nlohmann::detail::exception& error);

 private:
  // The value that is awaited or open.
  enum class Place {
    kStart,
    kTop,
    kMetadata,
    kMetadataValue,
    kEntry,
    kDtype,
    kShape,
    kOffsets,
    kShapeItem,
    kOffsetItem
  };

  bool Fail(std::string why);
  std::string Who() const;
  // A value of a kind that may not stand here.
  bool Unexpected();
  bool Size(uint64_t value);
  bool Finish();

  Place place_ = Place::kStart;
  std::set<std::string> names_;  // of the top
  std::string metadata_key_;
  TensorInfo entry_;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  int64_t offsets_[2] = {0, 0};
  int offset_count_ = 0;
};

}  // namespace calipress::checkpoint
