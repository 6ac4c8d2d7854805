#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace calipress::tokenizer {

// Hugging Face's tokenizers behaviour for a tokenizer.json. Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of a text, with the special tokens that the post-processor adds where `add_special_tokens`.
  virtual absl::StatusOr<std::vector<int64_t>> Encode(std::string_view text, bool add_special_tokens) const = 0;
  virtual absl::StatusOr<std::string> Decode(const std::vector<int64_t>& ids, bool skip_special_tokens) const = 0;
  // Highest id + 1, added tokens included.
  virtual int64_t vocabulary_size() const = 0;
  // Ids of all tokens but those that are marked special, ascending.
  virtual absl::StatusOr<std::vector<int64_t>> OrdinaryIds() const = 0;

  // From the text of a tokenizer.json; malformed input is SOURCE_MODEL_CORRUPT with the parser's words.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view json);
};

}  // namespace calipress::tokenizer
