#include "client/cli/output/text.h"

namespace calipress::cli {
namespace {

bool StartsCodePoint(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

}  // namespace

std::string OneLine(std::string_view text) {
  std::string line(text);
  for (size_t i = 0; i < line.size(); ++i) {
    const auto byte = static_cast<unsigned char>(line[i]);
    // U+0080 to U+009F, C2 80 to C2 9F, are controls too.
    const bool high_control = byte == 0xC2 && i + 1 < line.size() && static_cast<unsigned char>(line[i + 1]) < 0xA0;
    if (high_control) line[i] = line[i + 1] = ' ';
    if (byte < 0x20 || byte == 0x7f) line[i] = ' ';
  }
  return line;
}

size_t Columns(std::string_view text) {
  size_t columns = 0;
  for (const char c : text) columns += StartsCodePoint(c) ? 1 : 0;
  return columns;
}

std::string FitColumns(std::string_view text, size_t columns) {
  if (Columns(text) <= columns) return std::string(text);
  const size_t kept = columns > 3 ? columns - 3 : 0;
  size_t seen = 0;
  size_t end = 0;
  while (end < text.size() && (seen < kept || !StartsCodePoint(text[end]))) {
    seen += StartsCodePoint(text[end]) ? 1 : 0;
    ++end;
  }
  return std::string(text.substr(0, end)) + std::string("...").substr(0, columns - kept);
}

}  // namespace calipress::cli
