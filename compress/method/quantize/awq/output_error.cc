#include "compress/method/quantize/awq/output_error.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace calipress::method::awq {
namespace {

constexpr int64_t kColumns = 256;  // of a diagonal block

}  // namespace

double QuadraticForm(const at::Tensor& change, const at::Tensor& second_moment) {
  const int64_t n = second_moment.size(0);
  double total = 0.0;
  for (int64_t column = 0; column < n; column += kColumns) {
    const int64_t width = std::min(kColumns, n - column), after = column + width;
    const at::Tensor part = change.narrow(1, column, width);
    const at::Tensor block = second_moment.narrow(1, column, width);
    at::Tensor product;
    if (after < n) {
      product = at::mm(change.narrow(1, after, n - after), block.narrow(0, after, n - after));
      product.addmm_(part, block.narrow(0, column, width), /*beta=*/2.0, /*alpha=*/1.0);
    } else {
      product = at::mm(part, block.narrow(0, column, width));
    }
    total += product.mul_(part).sum(at::kDouble).item<double>();
  }
  return total;
}

double OutputError(const at::Tensor& weight, const at::Tensor& other, const at::Tensor& second_moment) {
  double total = 0.0;
  for (int64_t row = 0; row < weight.size(0); row += kRowsAtOnce) {
    const int64_t rows = std::min(kRowsAtOnce, weight.size(0) - row);
    at::Tensor change = weight.narrow(0, row, rows).to(at::kFloat);
    if (other.defined()) change = change.sub(other.narrow(0, row, rows).to(at::kFloat));
    total += QuadraticForm(change, second_moment);
  }
  return total;
}

}  // namespace calipress::method::awq
