#pragma once

#include <vector>

#include "compress/recipe/n_of_m.h"

namespace calipress::method::owl {

// OWL's layer-wise ratios (Yin et al., 2023, arXiv 2310.05175) from the blocks' shares of outliers (outliers.h): blocks
// with more outliers lose less. One ratio for each share, in order; every block counts alike, as in the reference.

// Sparsities whose mean is `sparsity` and which lie between it - 2 lambda and it + 2 lambda, the least and the largest
// 2 lambda apart. Where that would leave [0, 1), all distances from the mean shrink by one factor, so that the mean
// stays. Equal shares, or lambda = 0: `sparsity` itself.
std::vector<double> Sparsities(const std::vector<double>& outlier_shares, double sparsity, double lambda);

// Zeros in every run of `pattern.of` columns; they add up to the blocks' count times `pattern.zeros`, and differ from
// it by at most lambda, a whole number.
std::vector<int> Zeros(const std::vector<double>& outlier_shares, const recipe::NOfM& pattern, double lambda);

}  // namespace calipress::method::owl
