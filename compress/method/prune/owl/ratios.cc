#include "compress/method/prune/owl/ratios.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace calipress::method::owl {
namespace {

// Of what blocks keep on average, the least that one keeps: a block without weights cuts the model in two.
constexpr double kLeastKept = 0.05;

// r_l - mean(r), r_l = (D_l - min D) / (max D - min D) * width; zeros where all D are equal (the reference divides by
// zero there).
std::vector<double> Centred(const std::vector<double>& shares, double width) {
  std::vector<double> centred(shares.size(), 0.0);
  if (shares.empty()) return centred;
  const auto [least, most] = std::minmax_element(shares.begin(), shares.end());
  if (!(*most > *least)) return centred;
  for (size_t i = 0; i < shares.size(); ++i) centred[i] = (shares[i] - *least) / (*most - *least) * width;
  const double mean = std::accumulate(centred.begin(), centred.end(), 0.0) / static_cast<double>(centred.size());
  for (double& value : centred) value -= mean;
  return centred;
}

}  // namespace

std::vector<double> Sparsities(const std::vector<double>& outlier_shares, double sparsity, double lambda) {
  std::vector<double> ratios = Centred(outlier_shares, 2.0 * lambda);
  const double down = sparsity, up = (1.0 - kLeastKept) * (1.0 - sparsity);
  double shrink = 1.0;
  for (const double more : ratios) {
    if (more > down) shrink = std::min(shrink, down / more);
    if (-more > up) shrink = std::min(shrink, up / -more);
  }
  for (double& ratio : ratios) ratio = std::max(0.0, sparsity - shrink * ratio);
  return ratios;
}

std::vector<int> Zeros(const std::vector<double>& outlier_shares, const recipe::NOfM& pattern, double lambda) {
  const std::vector<double> centred = Centred(outlier_shares, lambda);
  std::vector<int> more(centred.size());
  int surplus = 0;
  for (size_t i = 0; i < centred.size(); ++i) {
    more[i] = static_cast<int>(std::nearbyint(centred[i]));
    surplus += more[i];
  }
  // Rounding alone, as the reference does it, may miss the mean: then what was rounded furthest goes the other way.
  // Errors are at most a half and add up to the surplus, hence once for each block is enough.
  std::vector<size_t> order(centred.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const int sign = surplus > 0 ? 1 : -1;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sign * (more[a] - centred[a]) > sign * (more[b] - centred[b]); });
  for (int i = 0; i < std::abs(surplus); ++i) more[order[i]] -= sign;
  std::vector<int> zeros(centred.size());
  for (size_t i = 0; i < zeros.size(); ++i) zeros[i] = pattern.zeros - more[i];
  return zeros;
}

}  // namespace calipress::method::owl
