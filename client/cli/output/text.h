#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace calipress::cli {

// Text from elsewhere as one line: control characters, which a terminal would obey, become spaces.
std::string OneLine(std::string_view text);

// Code points of UTF-8 text: columns on a terminal, near enough.
size_t Columns(std::string_view text);

// At most `columns` code points; what was cut off is marked by "...".
std::string FitColumns(std::string_view text, size_t columns);

}  // namespace calipress::cli
