#include "compress/tasks/figures.h"

#include <gtest/gtest.h>

#include <cmath>

namespace calipress::tasks {
namespace {

Examples Questions(const std::vector<std::vector<int64_t>>& bytes, const std::vector<int64_t>& answers) {
  Examples examples;
  for (size_t i = 0; i < bytes.size(); ++i) {
    examples.questions.push_back(
        {static_cast<int64_t>(examples.continuations.size()), static_cast<int64_t>(bytes[i].size()), answers[i]});
    for (const int64_t one : bytes[i]) examples.continuations.push_back({{1, 2}, 1, one});
  }
  return examples;
}

TEST(Figures, ChoicesBySumAndPerByte) {
  const Examples examples = Questions({{2, 8}, {4, 4}, {1, 1, 1}}, {0, 1, 0});
  // By sum: 0 (right), 0 (wrong), 0 as the first of equals (right). Per byte: 1 (wrong), 0 (wrong), 0 (right).
  const ChoiceFigures figures = FiguresOfChoices(
      examples, {{-2, false}, {-4, false}, {-1, true}, {-2, false}, {-3, false}, {-3, false}, {-3, false}});
  EXPECT_DOUBLE_EQ(figures.accuracy, 2.0 / 3);
  EXPECT_DOUBLE_EQ(figures.accuracy_normalized, 1.0 / 3);
}

TEST(Figures, WordsByGreedyTokensAndPerWholeWord) {
  const Examples examples = Questions({{0}, {0}}, {0, 0});
  const WordFigures figures = FiguresOfWords(examples, {{-1.5, true}, {-0.5, false}});
  EXPECT_DOUBLE_EQ(figures.accuracy, 0.5);
  EXPECT_DOUBLE_EQ(figures.perplexity, std::exp(1.0));
}

}  // namespace
}  // namespace calipress::tasks
