#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "calipress/v1/recipe.pb.h"
#include "compress/arch/arch.h"
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::assembly {

// What a recipe does to the linears of a model.
struct LinearOutcome {
  std::vector<checkpoint::QuantizedModule> quantized;  // in block order
  std::vector<std::string> dense;                      // the head first, then in block order
};

// `recipe` is resolved.
LinearOutcome LinearsOf(const v1::Recipe& recipe, const arch::ArchSpec& spec);

// Name -> shape of every tensor that the written checkpoint must have, and of none else.
std::map<std::string, std::vector<int64_t>> ExpectedTensors(const v1::Recipe& recipe, const arch::ArchSpec& spec);

}  // namespace calipress::assembly
