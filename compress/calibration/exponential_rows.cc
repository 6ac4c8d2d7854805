#include "compress/calibration/exponential_rows.h"

#include <algorithm>
#include <limits>

#include "compress/base/exp_float.h"
#include "compress/base/vector_clones.h"

namespace calipress::calibration {
namespace {

constexpr float kGone = -std::numeric_limits<float>::infinity();
constexpr int64_t kLanes = 16;

}  // namespace

CALIPRESS_CLONES float LargestScore(const float* scores, int64_t count) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = kGone;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] = scores[i + k] > lanes[k] ? scores[i + k] : lanes[k];
  }
  for (; i < count; ++i) lanes[0] = scores[i] > lanes[0] ? scores[i] : lanes[0];
  for (int64_t k = 1; k < kLanes; ++k) lanes[0] = lanes[k] > lanes[0] ? lanes[k] : lanes[0];
  return lanes[0];
}

CALIPRESS_CLONES double Exponentials(const float* scores, int64_t count, float largest, float factor, float* weights) {
  for (int64_t i = 0; i < count; ++i) {
    const float weight = ExpFloat((scores[i] - largest) * factor);
    weights[i] = scores[i] == kGone ? 0.0f : weight;
  }
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] += weights[i + k];
  }
  for (; i < count; ++i) lanes[0] += weights[i];
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

CALIPRESS_CLONES bool AllNumbers(const float* scores, int64_t count) {
  uint32_t nan = 0;
  for (int64_t i = 0; i < count; ++i) nan |= static_cast<uint32_t>(scores[i] != scores[i]);
  return nan == 0;
}

}  // namespace calipress::calibration
