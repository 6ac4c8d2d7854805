#pragma once

#include <ATen/core/Tensor.h>

#include "calipress/v1/recipe.pb.h"
#include "compress/method/method.h"

namespace calipress::method::dsnot {

// What a column's weights are multiplied by to compare them within a row: fp32 [in] on the CPU, for |w| times it.
// Wanda: sqrt(sum x^2); magnitude: 1; SparseGPT: 1 / sqrt(diag(H^-1)), H damped by 0.01 (the ladder of GPTQ climbs
// where it has no factor). `*fell_back`: there was none at any damping, and the factors are Wanda's.
at::Tensor ColumnFactors(v1::Dsnot::Initial initial, const InputStatistics& statistics, bool* fell_back);

}  // namespace calipress::method::dsnot
