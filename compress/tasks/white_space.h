#pragma once

#include <cstddef>
#include <string_view>

namespace calipress::tasks {

// Bytes of valid UTF-8 text without the white space at its end, by Python's notion of white space (str.rstrip).
size_t BytesBeforeTrailingSpace(std::string_view text);

// Where the last word of text without white space at its end begins: behind its last white space; 0 where it has none.
size_t LastWordBegin(std::string_view text);

}  // namespace calipress::tasks
