#include "server/assembly/checkpoint_publisher.h"

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>

#include "compress/report/page.h"
#include "tests/unit/server/assembly/testing_crashing_store.h"
#include "tests/unit/server/assembly/testing_publishing.h"

namespace calipress::assembly {
namespace {

namespace fs = std::filesystem;
using testing::ReadFile;
using testing::WriteFile;

using CheckpointPublisherTest = PublishingTest;

TEST_F(CheckpointPublisherTest, PublishesAWholeCheckpoint) {
  Stage(3);
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_EQ(Output(), kThreeShards);

  const auto index = Json("model.safetensors.index.json");
  int64_t bytes = 0;
  for (const auto& tensor : Plan()) {
    bytes += checkpoint::TensorBytes(tensor);
    EXPECT_TRUE(index["weight_map"].contains(tensor.name)) << tensor.name;
  }
  EXPECT_EQ(index["weight_map"].size(), Plan().size());
  EXPECT_EQ(index["metadata"]["total_size"], bytes);

  // The reader that loads models finds everything through the index.
  const auto reader = checkpoint::ModelReader::Open(*store_, folder_ / "out");
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->total_bytes(), bytes);
  EXPECT_NE((*reader)->Find("model.layers.1.mlp.down_proj.weight_packed"), nullptr);

  const auto config = Json("config.json");
  EXPECT_EQ(config["quantization_config"]["quantization_status"], "compressed");
  EXPECT_EQ(config["quantization_config"]["ignore"], nlohmann::json::array({"lm_head"}));
  EXPECT_EQ(config["hidden_size"], 16);

  const auto recipe = recipe::ParseYaml(ReadFile(folder_ / "out/recipe.yaml"));
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*recipe, job_.recipe()));

  v1::Report report;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(ReadFile(folder_ / "out/report.json"), &report).ok());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(report, report_));
  EXPECT_EQ(report.output_bytes(), bytes);
  EXPECT_EQ(ReadFile(folder_ / "out/report.html"), report::ReportPage(job_, report_));
  EXPECT_EQ(report.source_bytes(), (*checkpoint::ModelReader::Open(*store_, folder_ / "model"))->total_bytes());
  EXPECT_LT(report.output_bytes(), report.source_bytes());
  EXPECT_EQ(ReadFile(folder_ / "out/calibration_ids.npy"), "ids");
}

TEST_F(CheckpointPublisherTest, OneShardNeedsNoIndex) {
  Stage(1);
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_EQ(Output(), (std::set<std::string>{"config.json", "tokenizer.json", "tokenizer_config.json", "recipe.yaml",
                                             "replay.yaml", "report.json", "report.html", "calibration_ids.npy",
                                             "model.safetensors"}));
}

TEST_F(CheckpointPublisherTest, AnImatrixComesFromTheAttemptThatSucceeded) {
  Use("calibration: {sources: [{text: {uri: a.txt}}]}\nsteps: [{rtn: {bits: 4, group_size: 8}}]\n"
      "output: {imatrix: true}");
  Stage(1);
  EXPECT_EQ(ErrorReason(Publish()), reason::kStorageUnavailable);
  WriteFile(storage::JoinUri(fleet::AttemptStaging(job_, 2), "imatrix.gguf"), "sums");
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_EQ(ReadFile(folder_ / "out/imatrix.gguf"), "sums");
  // Once more, as after a restart.
  EXPECT_TRUE(Publish().ok()) << Publish();
}

TEST_F(CheckpointPublisherTest, LeavesDenseLinearsOutOfTheScheme) {
  Use("steps: [{ignore: [lm_head, model.layers.0.mlp.down_proj], rtn: {bits: 4, group_size: 8}}]");
  Stage(1);
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_EQ(Json("config.json")["quantization_config"]["ignore"],
            nlohmann::json::array({"lm_head", "model.layers.0.mlp.down_proj"}));
  EXPECT_NE((*checkpoint::ModelReader::Open(*store_, folder_ / "out"))->Find("model.layers.0.mlp.down_proj.weight"),
            nullptr);
}

TEST_F(CheckpointPublisherTest, AModelThatNothingWasQuantizedInKeepsItsConfig) {
  Use("steps: [{targets: [model.layers.9.nothing], rtn: {bits: 4, group_size: 8}}]");
  Stage(1);
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_EQ(ReadFile(folder_ / "out/config.json"), testing::kTinyConfig);
}

// The process dies at every single change in turn, and the coordinator publishes again.
TEST_F(CheckpointPublisherTest, GoesOnAfterACrashAnywhere) {
  int crashes = 0;
  for (int changes = 0;; ++changes) {
    fs::remove_all(folder_ / "out");
    Stage(3);
    testing::CrashingStore crashing(*store_, changes);
    v1::Report first = report_;
    const absl::Status status = CheckpointPublisher(&crashing).Publish(job_, outcomes_, {}, {}, &first);
    EXPECT_EQ(status.ok(), !crashing.crashed());
    if (!crashing.crashed()) break;
    ++crashes;
    EXPECT_EQ(ErrorClassOf(status), ErrorClass::kEnvironment) << status;
    EXPECT_FALSE(Output().contains("config.json")) << "after " << changes;

    v1::Report second = report_;
    const absl::Status again = publisher_.Publish(job_, outcomes_, {}, {}, &second);
    ASSERT_TRUE(again.ok()) << again << " after " << changes;
    EXPECT_EQ(Output(), kThreeShards) << "after " << changes;
    EXPECT_TRUE(checkpoint::ModelReader::Open(*store_, folder_ / "out").ok());
  }
  EXPECT_GE(crashes, 8);  // marker, three shards, index, two copies, recipe, ids, report, config
}

TEST_F(CheckpointPublisherTest, PublishingTwiceGivesTheFirstReport) {
  Stage(3);
  ASSERT_TRUE(Publish().ok());
  const v1::Report first = report_;
  report_.set_total_seconds(99);
  ASSERT_TRUE(Publish().ok());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(report_, first));
}

// The first attempt's shards were moved in part, then it was given up; the second one wrote them all again.
TEST_F(CheckpointPublisherTest, ASecondAttemptPublishesOverTheFirst) {
  Stage(3, /*attempt=*/1);
  testing::CrashingStore crashing(*store_, 3);
  ASSERT_FALSE(CheckpointPublisher(&crashing).Publish(job_, outcomes_, {}, {}, &report_).ok());
  ASSERT_TRUE(Output().contains("model-00001-of-00003.safetensors"));
  Stage(3, /*attempt=*/2);
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_EQ(Output(), kThreeShards);
}

TEST_F(CheckpointPublisherTest, RefusesAForeignConfig) {
  Stage(3);
  WriteFile(folder_ / "out/config.json", "{}");
  const absl::Status status = Publish();
  EXPECT_EQ(ErrorReason(status), reason::kOutputExists) << status;
  EXPECT_EQ(ErrorClassOf(status), ErrorClass::kUser);
  EXPECT_EQ(ReadFile(folder_ / "out/config.json"), "{}");
  EXPECT_EQ(Output(), std::set<std::string>{"config.json"});
}

TEST_F(CheckpointPublisherTest, RefusesForeignWeightsEvenIfNamedLikeItsOwn) {
  for (const char* name : {"model-00001-of-00003.safetensors", "model-00001-of-00007.safetensors", "pytorch_model.bin",
                           "model.safetensors.index.json"}) {
    fs::remove_all(folder_ / "out");
    Stage(3);
    WriteFile(folder_ / (std::string("out/") + name), "stale");
    const absl::Status status = Publish();
    EXPECT_EQ(ErrorReason(status), reason::kOutputExists) << name << ": " << status;
    EXPECT_EQ(ReadFile(folder_ / (std::string("out/") + name)), "stale");
  }
}

TEST_F(CheckpointPublisherTest, AStaleIndexBesideASingleShardIsRefused) {
  Stage(1);
  WriteFile(folder_ / "out/model.safetensors.index.json", "{}");
  EXPECT_EQ(ErrorReason(Publish()), reason::kOutputExists);
}

TEST_F(CheckpointPublisherTest, ChecksWhatWorkersReport) {
  const auto expect = [&](const char* what, ErrorClass error_class, const std::function<void()>& spoil) {
    fs::remove_all(folder_ / "out");
    Stage(3);
    spoil();
    const absl::Status status = Publish();
    EXPECT_FALSE(status.ok()) << what;
    EXPECT_EQ(ErrorClassOf(status), error_class) << what << ": " << status;
    EXPECT_FALSE(Output().contains("config.json")) << what;
  };
  expect("a tensor that no shard holds", ErrorClass::kDefect,
         [&] { outcomes_[0].mutable_shards(0)->mutable_tensors()->RemoveLast(); });
  expect("a tensor in two shards", ErrorClass::kDefect,
         [&] { outcomes_[1].mutable_shards(0)->add_tensors(outcomes_[0].shards(0).tensors(0)); });
  expect("a tensor that the model has not", ErrorClass::kDefect,
         [&] { outcomes_[1].mutable_shards(0)->add_tensors("model.surprise"); });
  expect("a shard that is missing", ErrorClass::kDefect, [&] { outcomes_[0].mutable_shards()->RemoveLast(); });
  expect("no shard", ErrorClass::kDefect, [&] { outcomes_.assign(2, {}); });
  expect("a name that leaves the folder", ErrorClass::kDefect,
         [&] { outcomes_[0].mutable_shards(0)->set_file("../model-00001-of-00003.safetensors"); });
  expect("a file outside of the staging folder", ErrorClass::kDefect,
         [&] { outcomes_[0].mutable_shards(0)->set_uri(folder_ / "model/model.safetensors"); });
  expect("another size", ErrorClass::kEnvironment,
         [&] { fs::resize_file(outcomes_[0].shards(0).uri(), outcomes_[0].shards(0).bytes() - 1); });
  expect("a file that is gone", ErrorClass::kEnvironment, [&] { fs::remove(outcomes_[0].shards(0).uri()); });
  expect("a file with another shard's tensors", ErrorClass::kDefect, [&] {
    auto* shard = outcomes_[0].mutable_shards(0);
    shard->set_bytes(testing::WriteTensors(*store_, shard->uri(), {Plan().back()}));
  });
}

TEST_F(CheckpointPublisherTest, AJobThatOnlyEvaluatesPublishesNothing) {
  job_.clear_output();
  ASSERT_TRUE(Publish().ok()) << Publish();
  EXPECT_GT(report_.source_bytes(), 0);
  EXPECT_EQ(report_.output_bytes(), 0);
  ASSERT_TRUE(publisher_.Sweep(job_).ok());
  EXPECT_TRUE(fs::exists(folder_ / "model/config.json"));
}

TEST_F(CheckpointPublisherTest, SweepLeavesTheCheckpointAlone) {
  Stage(3);
  ASSERT_TRUE(Publish().ok());
  job_.set_state(v1::CompressionJob::SUCCEEDED);
  ASSERT_TRUE(publisher_.Sweep(job_).ok());
  ASSERT_TRUE(publisher_.Sweep(job_).ok());
  EXPECT_FALSE(fs::exists(folder_ / "out/_calipress"));
  EXPECT_EQ(Output(), kThreeShards);
}

TEST_F(CheckpointPublisherTest, SweepOfAFailedJobRemovesWhatItLeft) {
  Stage(3);
  job_.set_state(v1::CompressionJob::FAILED);
  ASSERT_TRUE(publisher_.Sweep(job_).ok());
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  ASSERT_TRUE(publisher_.Sweep(job_).ok());
}

TEST_F(CheckpointPublisherTest, SweepTakesAPublicationThatWasCutShortBack) {
  Stage(3);
  testing::CrashingStore crashing(*store_, 4);
  ASSERT_FALSE(CheckpointPublisher(&crashing).Publish(job_, outcomes_, {}, {}, &report_).ok());
  ASSERT_FALSE(Output().empty());
  WriteFile(folder_ / "out/notes.txt", "the user's");
  job_.set_state(v1::CompressionJob::CANCELLED);
  ASSERT_TRUE(publisher_.Sweep(job_).ok());
  EXPECT_EQ(Output(), std::set<std::string>{"notes.txt"});
  EXPECT_FALSE(fs::exists(folder_ / "out/_calipress"));
}

TEST_F(CheckpointPublisherTest, SweepLeavesOtherJobsStagingAlone) {
  Stage(3);
  WriteFile(folder_ / "out/_calipress/uid-2/attempt-1/block", "another job's");
  job_.set_state(v1::CompressionJob::FAILED);
  ASSERT_TRUE(publisher_.Sweep(job_).ok());
  EXPECT_FALSE(fs::exists(folder_ / "out/_calipress/uid-1"));
  EXPECT_TRUE(fs::exists(folder_ / "out/_calipress/uid-2/attempt-1/block"));
}

}  // namespace
}  // namespace calipress::assembly
