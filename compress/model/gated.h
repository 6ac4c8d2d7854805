#pragma once

#include <ATen/core/Tensor.h>

#include "compress/arch/arch.h"

namespace calipress::model {

// act(gate) * up, elementwise, each operation rounded to the dtype. `gate` and `up` have one shape and are contiguous;
// `gate` is overwritten and returned.
at::Tensor GatedActivation(arch::Activation activation, at::Tensor gate, const at::Tensor& up);

}  // namespace calipress::model
