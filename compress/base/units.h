#pragma once

#include <cstdint>
#include <string>

namespace calipress {

// "11.5 MB": decimal units, three digits.
std::string FormatBytes(int64_t bytes);

// "0.52 s", "12.3 s", "1 min 15 s", "2 h 3 min"; "-" for what is not finite.
std::string FormatSeconds(double seconds);

// "13.4280"; fewer digits for large values, so that a column stays narrow; "-" for what is not finite.
std::string FormatPerplexity(double value);

// "98.2 %"; "-" for what is not finite.
std::string FormatPercent(double ratio);

// The shortest text that reads back as the same number: "0.25".
std::string ExactNumber(double value);

}  // namespace calipress
