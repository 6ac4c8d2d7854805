#include "compress/tasks/figures.h"

#include <algorithm>
#include <cmath>

namespace calipress::tasks {

ChoiceFigures FiguresOfChoices(const Examples& examples, const std::vector<ContinuationScore>& scores) {
  int64_t right = 0;
  int64_t right_normalized = 0;
  for (const Question& question : examples.questions) {
    int64_t best = 0;
    int64_t best_normalized = 0;
    const auto log_probability = [&](int64_t choice) { return scores[question.first + choice].log_probability; };
    const auto per_byte = [&](int64_t choice) {
      return log_probability(choice) / static_cast<double>(examples.continuations[question.first + choice].bytes);
    };
    for (int64_t choice = 1; choice < question.choices; ++choice) {
      if (log_probability(choice) > log_probability(best)) best = choice;
      if (per_byte(choice) > per_byte(best_normalized)) best_normalized = choice;
    }
    right += best == question.answer ? 1 : 0;
    right_normalized += best_normalized == question.answer ? 1 : 0;
  }
  const auto count = static_cast<double>(std::max<size_t>(1, examples.questions.size()));
  return {static_cast<double>(right) / count, static_cast<double>(right_normalized) / count};
}

WordFigures FiguresOfWords(const Examples& examples, const std::vector<ContinuationScore>& scores) {
  int64_t right = 0;
  double negative = 0.0;
  for (const Question& question : examples.questions) {
    right += scores[question.first].greedy ? 1 : 0;
    negative -= scores[question.first].log_probability;
  }
  const auto count = static_cast<double>(std::max<size_t>(1, examples.questions.size()));
  return {static_cast<double>(right) / count, std::exp(negative / count)};
}

}  // namespace calipress::tasks
