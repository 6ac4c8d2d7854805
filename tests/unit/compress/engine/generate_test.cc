// The model writes and scores on one rank and on several.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/engine/oracle.h"
#include "compress/engine/oracle_command.h"
#include "testing_replicas.h"
#include "testing_stage.h"

namespace calipress::engine {
namespace {

using calibration::GenerationRequest;
using calibration::ScoredSequence;
using ::testing::HasSubstr;

class Generation : public testing::Stage {
 protected:
  static GenerationRequest Request(int64_t sequences, int64_t tokens) {
    GenerationRequest request;
    request.sequences = sequences;
    request.seed = 11;
    request.tokens = tokens;
    request.end_ids = {2};
    request.restart = true;
    for (int64_t i = 0; i < sequences; ++i) request.prompts.push_back({1});
    return request;
  }

  // What rank 0 makes of the model while the others serve; each rank's status.
  std::vector<absl::Status> Ask(int size, const std::string& sharding,
                                const std::function<absl::Status(PipelineOracle&)>& body,
                                int64_t budget = int64_t{1} << 30) {
    const worker::v1::Assignment assignment = Assignment(Yaml("rtn: {}", "sharding: " + sharding), "attempt");
    std::vector<absl::Status> statuses(size);
    testing::RunRanks(size, [&](collective::Group& group) {
      worker::v1::Assignment mine = assignment;
      mine.set_rank(group.rank());
      mine.set_world_size(size);
      const int blocks = assignment.end_block();
      if (sharding == "layers") {
        mine.set_first_block(blocks * group.rank() / size);
        mine.set_end_block(blocks * (group.rank() + 1) / size);
      }
      testing::Recorder recorder;
      StageEnvironment environment{*store_, group, "cpu", budget};
      auto model = Open(*store_, mine.model_uri(), at::kCPU, mine.recipe());
      ASSERT_TRUE(model.ok()) << model.status();
      StageContext context{mine, environment, recorder, cancellation_, at::kCPU, *std::move(model), {}, {}};
      if (!context.leader()) {
        statuses[group.rank()] = ServeOracle(context);
        return;
      }
      PipelineOracle oracle(context);
      statuses[0] = oracle.Finish(body(oracle));
    });
    return statuses;
  }

  std::vector<ScoredSequence> Write(int size, const std::string& sharding, const GenerationRequest& request) {
    std::vector<ScoredSequence> sequences;
    const auto statuses = Ask(size, sharding, [&](PipelineOracle& oracle) {
      auto written = oracle.Generate(request);
      if (!written.ok()) return written.status();
      sequences = *std::move(written);
      return absl::OkStatus();
    });
    for (const absl::Status& status : statuses) EXPECT_TRUE(status.ok()) << status;
    return sequences;
  }
};

bool Same(const ScoredSequence& a, const ScoredSequence& b) {
  return a.ids == b.ids && a.negative_log_likelihood == b.negative_log_likelihood && a.predicted == b.predicted;
}

TEST_F(Generation, DoesNotDependOnTheWorkers) {
  const GenerationRequest request = Request(70, 10);
  const auto one = Write(1, "layers", request);
  ASSERT_EQ(one.size(), 70u);
  for (const ScoredSequence& sequence : one) {
    EXPECT_EQ(sequence.ids.size(), 10u);
    EXPECT_EQ(sequence.ids[0], 1);
    // Where a text has ended another begins.
    for (size_t i = 0; i + 1 < sequence.ids.size(); ++i) {
      if (sequence.ids[i] == 2) EXPECT_EQ(sequence.ids[i + 1], 1);
    }
  }
  EXPECT_NE(one[0].ids, one[1].ids);
  for (const auto& [size, sharding] :
       {std::pair<int, const char*>{2, "layers"}, {3, "layers"}, {2, "samples"}, {3, "samples"}}) {
    const auto several = Write(size, sharding, request);
    ASSERT_EQ(several.size(), one.size());
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(Same(several[i], one[i])) << size << sharding << i;
  }
  // Nor on how many there are.
  const auto few = Write(2, "layers", Request(8, 10));
  for (size_t i = 0; i < few.size(); ++i) EXPECT_TRUE(Same(few[i], one[i])) << i;
}

TEST_F(Generation, ScoresWhatItWrites) {
  GenerationRequest request = Request(5, 20);
  request.restart = false;
  request.end_ids.clear();
  request.prompts[2] = {1, 300, 400};
  for (const auto& [size, sharding] : {std::pair<int, const char*>{1, "layers"}, {2, "layers"}, {2, "samples"}}) {
    const auto statuses = Ask(size, sharding, [&](PipelineOracle& oracle) -> absl::Status {
      auto written = oracle.Generate(request);
      if (!written.ok()) return written.status();
      EXPECT_EQ(oracle.generated_tokens(), 5 * 20 - 5 - 2);
      std::vector<std::vector<int64_t>> ids = {{7}};
      for (const auto& sequence : *written) ids.push_back(sequence.ids);
      auto scored = oracle.Score(ids);
      if (!scored.ok()) return scored.status();
      EXPECT_EQ((*scored)[0].negative_log_likelihood, 0.0);
      for (size_t i = 0; i < written->size(); ++i) {
        EXPECT_EQ((*scored)[i + 1].ids, (*written)[i].ids);
        EXPECT_EQ((*scored)[i + 1].predicted, 19);
        EXPECT_EQ((*written)[i].predicted, 19);
        // bf16
        EXPECT_NEAR((*scored)[i + 1].Perplexity() / (*written)[i].Perplexity(), 1.0, 0.02);
      }
      return absl::OkStatus();
    });
    for (const absl::Status& status : statuses) EXPECT_TRUE(status.ok()) << status;
  }
}

TEST_F(Generation, ScoresDoNotDependOnTheWorkers) {
  std::vector<std::vector<int64_t>> ids;
  for (int i = 0; i < 40; ++i) {
    std::vector<int64_t> sequence = {1};
    for (int k = 0; k < 7 * i % 100; ++k) sequence.push_back((31 * i + 17 * k) % 4000 + 3);
    ids.push_back(sequence);
  }
  std::vector<ScoredSequence> expected;
  for (const auto& [size, sharding] : {std::pair<int, const char*>{1, "layers"}, {3, "layers"}, {3, "samples"}}) {
    // Little enough that blocks pass by in windows.
    Ask(
        size, sharding,
        [&](PipelineOracle& oracle) -> absl::Status {
          auto scored = oracle.Score(ids);
          EXPECT_TRUE(scored.ok()) << scored.status();
          if (!scored.ok()) return scored.status();
          if (expected.empty()) expected = *scored;
          for (size_t i = 0; i < ids.size(); ++i) EXPECT_TRUE(Same((*scored)[i], expected[i])) << size << sharding << i;
          return absl::OkStatus();
        },
        3 << 20);
  }
}

TEST_F(Generation, AFailureOfRank0EndsTheOthers) {
  const auto statuses =
      Ask(3, "layers", [](PipelineOracle&) { return UserError(reason::kInvalidCalibrationData, "no such file"); });
  for (const absl::Status& status : statuses) {
    EXPECT_EQ(ErrorReason(status), "INVALID_CALIBRATION_DATA");
    EXPECT_EQ(status.message(), "no such file");
  }
}

TEST_F(Generation, TooLittleMemoryIsSaid) {
  const auto statuses = Ask(
      2, "layers", [](PipelineOracle& oracle) { return oracle.Generate(Request(4, 16)).status(); }, 1 << 20);
  for (const absl::Status& status : statuses) {
    EXPECT_EQ(ErrorReason(status), "INSUFFICIENT_MEMORY") << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("more workers"));
  }
}

TEST_F(Generation, CommandsTravelWhole) {
  OracleCommand command;
  command.kind = OracleCommand::Kind::kGenerate;
  command.request = Request(3, 16);
  command.request.prompts[1] = {4, 5, 6};
  command.request.first_stream = uint64_t{3} << 32;
  command.request.top_p = 0.75;
  command.request.first_ids = {9, 8};
  const std::string bytes = ToBytes(command);
  const auto parsed = ParseOracleCommand(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->request.prompts, command.request.prompts);
  EXPECT_EQ(parsed->request.first_stream, command.request.first_stream);
  EXPECT_EQ(parsed->request.top_p, 0.75);
  EXPECT_EQ(parsed->request.first_ids, command.request.first_ids);
  EXPECT_EQ(ToBytes(*parsed), bytes);
  EXPECT_FALSE(ParseOracleCommand(bytes.substr(0, bytes.size() - 1)).ok());
}

}  // namespace
}  // namespace calipress::engine
