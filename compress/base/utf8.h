#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace calipress {

// Well-formed is as RFC 3629 says: no surrogates, no overlong forms.

// Bytes of the well-formed character that `text` begins with; 0 where it begins with none.
size_t CharacterBytes(std::string_view text);

// Where the first byte lies that is not part of a well-formed character; npos where there is none.
size_t FindInvalidUtf8(std::string_view text);

// The text as it may be shown and sent (a message with a malformed string can't be parsed by who receives it):
// '?' for each byte that is not well-formed, at most `limit` bytes, and "..." where more was cut off.
std::string BoundedText(std::string_view text, size_t limit = std::string_view::npos);

}  // namespace calipress
