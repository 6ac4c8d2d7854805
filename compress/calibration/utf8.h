#pragma once

#include <cstddef>
#include <string_view>

namespace calipress::calibration {

// Where the first byte lies that is not part of well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms);
// npos where there is none.
size_t FindInvalidUtf8(std::string_view text);

}  // namespace calipress::calibration
