#pragma once

#include <string>

#include "calipress/v1/report.pb.h"

namespace calipress::cli {

// What became of the linears, as tables; "" where there are none.

// Mean relative error, zeros and bits per weight of the linears of each block.
std::string BlocksText(const v1::Report& report);
// The linears with the largest relative errors.
std::string WorstLinearsText(const v1::Report& report);

}  // namespace calipress::cli
