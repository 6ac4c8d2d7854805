#include "compress/calibration/exponential_rows.h"

#include <cstdint>

#include "compress/base/exp_float.h"
#include "compress/base/vector_clones.h"

namespace calipress::calibration {
namespace {

constexpr int64_t kLanes = 16;

}  // namespace

CALIPRESS_CLONES float LargestScore(std::span<const float> scores) {
  const auto count = static_cast<int64_t>(scores.size());
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

CALIPRESS_CLONES double Exponentials(std::span<const float> scores, float largest, float factor, float* weights) {
  const auto count = static_cast<int64_t>(scores.size());
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

CALIPRESS_CLONES bool AllNumbers(std::span<const float> scores) {
  uint32_t nan = 0;
  for (const float score : scores) nan |= static_cast<uint32_t>(score != score);
  return nan == 0;
}

}  // namespace calipress::calibration
