#include "compress/base/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace calipress {

size_t CharacterBytes(std::string_view text) {
  const auto byte = [text](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0}; };
  const auto follow = [&byte](size_t count) {
    for (size_t at = 2; at <= count; ++at) {
      if ((byte(at) & 0xC0) != 0x80) return false;
    }
    return true;
  };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return text.empty() ? 0 : 1;
  // The second byte tells overlong forms, surrogates and what is beyond U+10FFFF.
  const auto second = [&byte](uint8_t low, uint8_t high) { return byte(1) >= low && byte(1) <= high; };
  if (lead >= 0xC2 && lead <= 0xDF) return second(0x80, 0xBF) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    return second(lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) && follow(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    return second(lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF) && follow(3) ? 4 : 0;
  }
  return 0;
}

size_t FindInvalidUtf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (text.size() - at >= 8) {
      uint64_t word;
      std::memcpy(&word, text.data() + at, 8);
      if ((word & 0x8080808080808080u) == 0) {
        at += 8;
        continue;
      }
    }
    const size_t bytes = CharacterBytes(text.substr(at));
    if (bytes == 0) return at;
    at += bytes;
  }
  return std::string_view::npos;
}

std::string BoundedText(std::string_view text, size_t limit) {
  std::string kept;
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    const std::string_view character = bytes == 0 ? std::string_view("?") : text.substr(0, bytes);
    if (kept.size() + character.size() > limit) return kept + "...";
    kept += character;
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return kept;
}

}  // namespace calipress
