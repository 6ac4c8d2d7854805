#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "compress/calibration/source.h"

namespace calipress::calibration {

// The one tensor of a .safetensors file, I64 or I32, of two dimensions: [sequences, length]. From the file's first
// kTokenFileStartBytes (or all of a shorter one) and its size. Untrusted bytes; INVALID_CALIBRATION_DATA.
absl::StatusOr<TokenFileLayout> ParseTokenSafetensorsLayout(std::string_view start, int64_t file_bytes);

absl::StatusOr<TokenMatrix> ParseTokenSafetensors(std::string_view bytes);

}  // namespace calipress::calibration
