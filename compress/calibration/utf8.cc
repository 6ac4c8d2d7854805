#include "compress/calibration/utf8.h"

#include <cstdint>
#include <cstring>

namespace calipress::calibration {
namespace {

// Bytes of the character that begins with `lead` in its only correct form, given its second byte; 0: none.
size_t CharacterBytes(uint8_t lead, uint8_t second) {
  const auto within = [second](uint8_t low, uint8_t high) { return second >= low && second <= high; };
  if (lead >= 0xC2 && lead <= 0xDF) return within(0x80, 0xBF) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    return within(lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    return within(lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF) ? 4 : 0;
  }
  return 0;
}

}  // namespace

size_t FindInvalidUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (text.size() - i >= 8) {
      uint64_t word;
      std::memcpy(&word, text.data() + i, 8);
      if ((word & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0}; };
    if (byte(i) < 0x80) {
      ++i;
      continue;
    }
    const size_t bytes = CharacterBytes(byte(i), byte(i + 1));
    if (bytes == 0) return i;
    for (size_t k = 2; k < bytes; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return i;
    }
    i += bytes;
  }
  return std::string_view::npos;
}

}  // namespace calipress::calibration
