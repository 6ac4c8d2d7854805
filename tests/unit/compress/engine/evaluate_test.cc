// Texts and tasks through whole stages: one worker, two stages, replicas, a budget that holds no block.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/engine/task_share.h"
#include "testing_replicas.h"
#include "testing_stage.h"

namespace calipress::engine {
namespace {

using testing::Recorder;

class Evaluation : public testing::Stage {
 protected:
  Evaluation() {
    std::filesystem::create_directories(folder_);
    std::ofstream questions(folder_ / "questions.jsonl");
    for (int i = 0; i < 11; ++i) {
      questions << R"({"context": "Once upon a time there was )" << std::string(i % 4, 'a') << " girl named Lily"
                << R"(. She", "choices": ["loved to play", "was a very )" << std::string(i, 'x')
                << R"(", "the"], "answer": )" << i % 3 << "}\n";
    }
    std::ofstream words(folder_ / "words.txt");
    words << "Once upon a time there was a little girl named Lily.\n\nShe loved to play with her toys and her mommy.\n";
  }

  std::string Tasks(const std::string& more = "") {
    return "evaluation:\n  multiple_choice: [{name: q, uri: '" + (folder_ / "questions.jsonl").string() +
           "', domain: stories}]\n  last_word: [{name: w, uri: '" + (folder_ / "words.txt").string() +
           "'}]\n  perplexity: [{name: t, uri: '" + Data("heldout.jsonl") +
           "', sequence_length: 64, max_windows: 5}]\n" + more;
  }

  // The outcome of the rank that tells.
  worker::v1::StageOutcome RunRanks(const std::string& yaml, int size, bool replicas) {
    std::vector<worker::v1::StageOutcome> outcomes(size);
    testing::RunRanks(size, [&](collective::Group& group) {
      worker::v1::Assignment mine = Assignment(yaml, "ranks" + std::to_string(size));
      mine.set_rank(group.rank());
      mine.set_world_size(size);
      if (!replicas) {
        const int blocks = mine.end_block();
        mine.set_first_block(blocks * group.rank() / size);
        mine.set_end_block(blocks * (group.rank() + 1) / size);
      }
      StageEnvironment environment{*store_, group};
      Recorder recorder;
      auto result = RunStage(mine, environment, recorder, cancellation_);
      ASSERT_TRUE(result.ok()) << result.status();
      outcomes[group.rank()] = *std::move(result);
    });
    worker::v1::StageOutcome told;
    int count = 0;
    for (const auto& outcome : outcomes) {
      if (outcome.tasks_size() == 0) continue;
      told = outcome;
      ++count;
    }
    EXPECT_EQ(count, 1);
    return told;
  }

  static std::string Figures(const worker::v1::StageOutcome& outcome) {
    std::string text;
    for (const auto& task : outcome.tasks()) text += task.ShortDebugString() + "\n";
    return text;
  }
};

TEST_F(Evaluation, CompressedAndOriginalSideBySide) {
  Recorder recorder;
  const auto outcome = Run(Assignment(Yaml("rtn: {bits: 2, group_size: 32}", Tasks()), "a"), recorder);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(outcome->tasks_size(), 2);
  const v1::TaskResult& questions = outcome->tasks(0);
  EXPECT_EQ(questions.name(), "q");
  EXPECT_EQ(questions.kind(), "multiple_choice");
  EXPECT_EQ(questions.domain(), "stories");
  EXPECT_EQ(questions.examples(), 11);
  EXPECT_TRUE(questions.has_accuracy_original() && questions.has_accuracy_normalized_original());
  EXPECT_FALSE(questions.has_perplexity());
  const v1::TaskResult& words = outcome->tasks(1);
  EXPECT_EQ(words.kind(), "last_word");
  EXPECT_EQ(words.domain(), "general");
  EXPECT_EQ(words.examples(), 2);
  EXPECT_GT(words.perplexity(), words.perplexity_original());
  EXPECT_FALSE(words.has_accuracy_normalized());
  EXPECT_EQ(outcome->evaluations(0).domain(), "general");
}

TEST_F(Evaluation, WorkersReplicasAndSmallBudgetsGiveTheSameFigures) {
  const worker::v1::StageOutcome one = RunRanks(Tasks(), 1, false);
  ASSERT_EQ(one.tasks_size(), 2);
  EXPECT_FALSE(one.tasks(0).has_accuracy_original());
  EXPECT_EQ(Figures(RunRanks(Tasks(), 2, false)), Figures(one));
  EXPECT_EQ(Figures(RunRanks(Tasks() + "sharding: samples\n", 3, true)), Figures(one));
  Recorder recorder;
  const auto small = Run(Assignment(Tasks(), "small"), recorder, /*budget=*/1 << 20);
  ASSERT_TRUE(small.ok()) << small.status();
  EXPECT_EQ(Figures(*small), Figures(one));
  EXPECT_EQ(small->evaluations(0).perplexity(), one.evaluations(0).perplexity());
}

TEST_F(Evaluation, AReferenceIsMeasuredBeside) {
  Recorder recorder;
  const auto outcome = Run(Assignment(Tasks("  reference: '" + Data("mix-llama-5.8m") + "'\n"), "reference"), recorder);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  for (const v1::TaskResult& task : outcome->tasks()) {
    EXPECT_TRUE(task.has_accuracy_original());
    EXPECT_EQ(task.accuracy(), task.accuracy_original()) << task.name();
  }
  EXPECT_EQ(outcome->tasks(1).perplexity(), outcome->tasks(1).perplexity_original());
}

TEST(BatchContinuations, LongOnesFirstAndPaddedOnTheRight) {
  tasks::Examples examples;
  for (const int64_t size : {3, 9, 5, 9}) {
    tasks::Continuation continuation;
    for (int64_t i = 0; i < size; ++i) continuation.ids.push_back(10 * size + i);
    continuation.scored = 2;
    examples.continuations.push_back(continuation);
  }
  const auto batches = BatchContinuations(examples);
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_THAT(batches[0].continuations, ::testing::ElementsAre(1, 3, 2, 0));
  EXPECT_EQ(batches[0].shape.length, 8);
  const at::Tensor ids = SeenIds(examples, batches[0], at::kCPU);
  EXPECT_EQ(ids[2][3].item<int64_t>(), 53);  // the last one is predicted, not seen
  EXPECT_EQ(ids[2][4].item<int64_t>(), 0);
  const ScoredTokens scored = ScoredIn(examples, batches[0], at::kCPU);
  EXPECT_EQ(scored.positions.size(0), 8);
  EXPECT_EQ(scored.positions[4].item<int64_t>(), 2 * 8 + 2);
  EXPECT_EQ(scored.targets[4].item<int64_t>(), 53);
  EXPECT_EQ(scored.targets[5].item<int64_t>(), 54);
}

}  // namespace
}  // namespace calipress::engine
