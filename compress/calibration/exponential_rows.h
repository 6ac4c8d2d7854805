#pragma once

#include <limits>
#include <span>

namespace calipress::calibration {

// A score that is gone.
inline constexpr float kGone = -std::numeric_limits<float>::infinity();

// Passes over a row of scores; the same bits on every processor.

// kGone of an empty row.
float LargestScore(std::span<const float> scores);

// weights[i] = e^((scores[i] - largest) * factor), 0 where a score is gone; their sum. As many weights as scores.
double Exponentials(std::span<const float> scores, float largest, float factor, float* weights);

bool AllNumbers(std::span<const float> scores);

}  // namespace calipress::calibration
