#include "compress/method/quantize/scheme.h"

#include <string>

#include "compress/base/error.h"

namespace calipress::method {

absl::StatusOr<checkpoint::QuantizationScheme> MakeScheme(std::string_view method, int bits, int64_t group_size,
                                                          bool symmetric) {
  const std::string name(method);
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
    return UserError(reason::kInvalidRecipe, name + ".bits is " + std::to_string(bits) + "; choose 2, 3, 4 or 8");
  }
  if (group_size != -1 && group_size < 1) {
    return UserError(reason::kInvalidRecipe, name + ".group_size is " + std::to_string(group_size) +
                                                 "; give a positive number, or -1 for one scale per output channel");
  }
  return checkpoint::QuantizationScheme{.bits = bits, .group_size = group_size, .symmetric = symmetric};
}

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
