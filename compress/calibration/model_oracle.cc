#include "compress/calibration/model_oracle.h"

#include <algorithm>
#include <cmath>

namespace calipress::calibration {

double ScoredSequence::Perplexity() const {
  return std::exp(negative_log_likelihood / static_cast<double>(std::max<int64_t>(1, predicted)));
}

}  // namespace calipress::calibration
