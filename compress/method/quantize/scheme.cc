#include "compress/method/quantize/scheme.h"

#include <string>

#include "compress/base/error.h"
#include "compress/recipe/recipe.h"

namespace calipress::method {

absl::StatusOr<checkpoint::QuantizationScheme> MakeScheme(const v1::Step& step) {
  const std::string name = recipe::MethodName(step);
  const checkpoint::QuantizationScheme scheme = recipe::SchemeOf(step);
  const int bits = scheme.bits;
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
    return UserError(reason::kInvalidRecipe, name + ".bits is " + std::to_string(bits) + "; choose 2, 3, 4 or 8");
  }
  if (scheme.type == checkpoint::NumberType::kFloat && (bits != 8 || !scheme.symmetric)) {
    return UserError(reason::kInvalidRecipe, name + ".type float has 8 bits and no zero points");
  }
  if (scheme.strategy == checkpoint::Strategy::kGroup && scheme.group_size < 1) {
    return UserError(reason::kInvalidRecipe, name + ".group_size is " + std::to_string(scheme.group_size) +
                                                 "; give a positive number, or -1 for one scale per output channel");
  }
  return scheme;
}

Observer ObserverOf(v1::Observer observer) { return observer == v1::OBSERVER_MSE ? Observer::kMse : Observer::kMinMax; }

int64_t RowUnit(const checkpoint::QuantizationScheme& scheme) {
  switch (scheme.strategy) {
    case checkpoint::Strategy::kTensor:
      return 0;
    case checkpoint::Strategy::kBlock:
      return checkpoint::kBlockSize;
    default:
      return 1;
  }
}

}  // namespace calipress::method
