#include "compress/tasks/white_space.h"

#include <cstdint>

namespace calipress::tasks {
namespace {

struct Character {
  uint32_t code = 0;
  size_t bytes = 0;
};

// The last character of text that is not empty.
Character LastCharacter(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  const size_t bytes = text.size() - begin;
  const auto lead = static_cast<unsigned char>(text[begin]);
  uint32_t code = bytes == 1 ? lead : lead & (0xFF >> (bytes + 1));
  for (size_t i = begin + 1; i < text.size(); ++i) code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3F);
  return {code, bytes};
}

// str.isspace of CPython: Unicode's White_Space, and the four separators 1C to 1F.
bool IsSpace(uint32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
         code == 0x205F || code == 0x3000;
}

}  // namespace

size_t BytesBeforeTrailingSpace(std::string_view text) {
  while (!text.empty()) {
    const Character last = LastCharacter(text);
    if (!IsSpace(last.code)) break;
    text.remove_suffix(last.bytes);
  }
  return text.size();
}

size_t LastWordBegin(std::string_view text) {
  while (!text.empty()) {
    const Character last = LastCharacter(text);
    if (IsSpace(last.code)) break;
    text.remove_suffix(last.bytes);
  }
  return text.size();
}

}  // namespace calipress::tasks
