#pragma once

#include <cstdint>
#include <vector>

#include "compress/tasks/examples.h"

namespace calipress::tasks {

// What a model thinks of one continuation: the sum of log p over its scored ids, natural; whether each of them was the
// likeliest.
struct ContinuationScore {
  double log_probability = 0.0;
  bool greedy = false;
};

// methods.md 8.2. `scores` are those of examples.continuations. Among equals the first choice is the model's.
struct ChoiceFigures {
  double accuracy = 0.0;             // choices by their log probability
  double accuracy_normalized = 0.0;  // by their log probability per byte
};
ChoiceFigures FiguresOfChoices(const Examples& examples, const std::vector<ContinuationScore>& scores);

struct WordFigures {
  double accuracy = 0.0;    // share of the words that the model would write, token by token
  double perplexity = 0.0;  // exp of the mean negative log probability of a whole word
};
WordFigures FiguresOfWords(const Examples& examples, const std::vector<ContinuationScore>& scores);

}  // namespace calipress::tasks
