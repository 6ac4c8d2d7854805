#pragma once

#include "compress/arch/arch.h"
#include "compress/arch/config_fields.h"

namespace calipress::arch {

// Sets rope_theta and rope_scaling from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before),
// by the rules of transformers' modeling_rope_utils. Needs spec->max_positions. Failures are left in `fields`.
void ReadRope(double default_theta, ConfigFields* fields, ArchSpec* spec);

}  // namespace calipress::arch
