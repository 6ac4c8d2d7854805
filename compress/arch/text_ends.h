#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace calipress::arch {

// The tokens that a model's texts begin and end with.
struct TextEnds {
  std::optional<int64_t> begin;
  std::vector<int64_t> end;
};

// bos_token_id and eos_token_id (a number or a list) of generation_config.json, and of config.json where that has none.
// `generation_config` may be empty: there is none. SOURCE_MODEL_CORRUPT names the field for what is neither, or outside
// the vocabulary.
absl::StatusOr<TextEnds> ParseTextEnds(std::string_view config, std::string_view generation_config, int64_t vocabulary);

}  // namespace calipress::arch
