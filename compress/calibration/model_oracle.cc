#include "compress/calibration/model_oracle.h"

#include <cmath>
#include <limits>

namespace calipress::calibration {

double ScoredSequence::Perplexity() const {
  if (predicted < 1) return std::numeric_limits<double>::quiet_NaN();
  return std::exp(negative_log_likelihood / static_cast<double>(predicted));
}

}  // namespace calipress::calibration
