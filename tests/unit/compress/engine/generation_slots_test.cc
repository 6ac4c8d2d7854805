#include "compress/engine/generation_slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace calipress::engine {
namespace {

using ::testing::ElementsAre;

calibration::GenerationRequest Request(std::vector<std::vector<int64_t>> prompts, int64_t tokens, bool restart) {
  calibration::GenerationRequest request;
  request.sequences = static_cast<int64_t>(prompts.size());
  request.prompts = std::move(prompts);
  request.tokens = tokens;
  request.end_ids = {2};
  request.restart = restart;
  return request;
}

// Every row writes 10 + how many it has written, and 2 after `text` of them.
std::vector<std::vector<int64_t>> Play(const calibration::GenerationRequest& request, int64_t rows, int64_t text,
                                       std::vector<int64_t>* predicted = nullptr) {
  GenerationSlots slots(request, 0, request.sequences, 1, rows);
  while (slots.Active(0)) {
    std::vector<int64_t> written(rows, -7);
    for (int64_t row = 0; row < rows; ++row) {
      const GenerationSlots::Next next = slots.NextOf(0, row);
      if (next.sequence < 0 || next.known >= 0) continue;
      EXPECT_EQ(slots.Positions(0)[row] + 1, static_cast<int64_t>(next.text.size()));
      EXPECT_EQ(slots.Tokens(0)[row], next.text.back());
      written[row] = next.written == text ? 2 : 10 + next.written;
    }
    slots.Advance(0, written);
  }
  if (predicted != nullptr) *predicted = slots.predicted();
  return slots.sequences();
}

TEST(GenerationSlots, TextsFollowEachOtherUntilTheSequenceIsFull) {
  const auto request = Request({{1}, {1}, {1}}, 9, /*restart=*/true);
  for (const int64_t rows : {1, 2, 3, 5}) {
    for (const auto& ids : Play(request, rows, 2)) EXPECT_THAT(ids, ElementsAre(1, 10, 11, 2, 1, 10, 11, 2, 1));
  }
}

TEST(GenerationSlots, ATextEndsItsSequence) {
  std::vector<int64_t> predicted;
  const auto ids = Play(Request({{1, 5}, {1, 5, 6, 7}, {1}}, 4, /*restart=*/false), 2, 1, &predicted);
  EXPECT_THAT(ids[0], ElementsAre(1, 5, 10, 2));
  EXPECT_THAT(ids[1], ElementsAre(1, 5, 6, 7));
  EXPECT_THAT(ids[2], ElementsAre(1, 10, 2));
  EXPECT_THAT(predicted, ElementsAre(3, 3, 2));
}

TEST(GenerationSlots, LongPromptsAreCutWhereTheSequenceEnds) {
  std::vector<int64_t> predicted;
  const auto ids = Play(Request({{1, 5, 6}}, 7, /*restart=*/true), 1, 0, &predicted);
  EXPECT_THAT(ids[0], ElementsAre(1, 5, 6, 2, 1, 5, 6));
  // Nothing predicts the first token of a text.
  EXPECT_THAT(predicted, ElementsAre(5));
}

TEST(GenerationSlots, DrawsAreOfTheSequence) {
  auto request = Request({{1}, {1}, {1}}, 4, true);
  request.seed = 5;
  request.first_stream = 100;
  GenerationSlots all(request, 0, 3, 1, 3), last(request, 2, 1, 1, 1);
  EXPECT_EQ(all.Draw(0, 2), last.Draw(0, 0));
  EXPECT_EQ(all.Draw(0, 2), last.Draw(0, 0));
  EXPECT_EQ(all.Draw(0, 1), RandomStream(5, 101).Uniform());
}

}  // namespace
}  // namespace calipress::engine
