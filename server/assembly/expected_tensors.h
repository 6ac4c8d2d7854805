#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calipress/v1/recipe.pb.h"
#include "compress/arch/arch.h"
#include "compress/checkpoint/compressed_tensors.h"

namespace calipress::assembly {

// What a recipe does to the linears of a model.
struct LinearOutcome {
  std::vector<checkpoint::QuantizedModule> quantized;  // in block order
  std::optional<checkpoint::SpqrScheme> spqr;          // of all linears that are neither in the one nor the other list
  std::vector<std::string> dense;                      // the head first, then in block order
};

// `recipe` is resolved.
LinearOutcome LinearsOf(const v1::Recipe& recipe, const arch::ArchSpec& spec);

// Name -> shape of every tensor that the written checkpoint must have, and of none else. A size of kAnySize shows only
// when the model is compressed.
inline constexpr int64_t kAnySize = -1;
std::map<std::string, std::vector<int64_t>> ExpectedTensors(const v1::Recipe& recipe, const arch::ArchSpec& spec);

}  // namespace calipress::assembly
