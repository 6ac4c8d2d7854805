#pragma once

#include <cstdint>

namespace calipress::calibration {

// Passes over a row of scores; minus infinity stands for a score that is gone. The same bits on every processor.

float LargestScore(const float* scores, int64_t count);

// weights[i] = e^((scores[i] - largest) * factor), 0 where a score is gone; their sum.
double Exponentials(const float* scores, int64_t count, float largest, float factor, float* weights);

bool AllNumbers(const float* scores, int64_t count);

}  // namespace calipress::calibration
