#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "compress/base/error.h"
#include "compress/recipe/recipe.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/assembly/checkpoint_publisher.h"
#include "server/fleet/staging.h"
#include "tests/unit/server/assembly/testing_shards.h"
#include "tests/unit/server/assembly/testing_tiny_model.h"

namespace calipress::assembly {

namespace fs = std::filesystem;
using testing::ReadFile;
using testing::WriteFile;

// A job whose workers are done: shards and calibration ids are staged.
class PublishingTest : public ::testing::Test {
 protected:
  PublishingTest() : store_(storage::OpenObjectStore()), publisher_(store_.get()) {
    testing::WriteTinyModel(*store_, folder_ / "model");
    WriteFile(folder_ / "model/tokenizer_config.json", "{\"a\": 1}");
    job_ = testing::RunningJob(folder_);
    Use("steps: [{rtn: {bits: 4, group_size: 8}}]");
    report_.set_total_seconds(12.5);
    report_.add_warnings("a warning");
    report_.mutable_calibration()->add_parts()->set_sequences(2);
  }

  void Use(const std::string& yaml) {
    const auto recipe = recipe::ParseYaml(yaml);
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    *job_.mutable_recipe() = recipe::Resolve(*recipe, testing::TinySpec());
  }

  std::vector<checkpoint::TensorPlan> Plan() const { return testing::CheckpointPlan(job_.recipe()); }

  // Writes `count` shards, and tells of them as two ranks would.
  void Stage(int count, int attempt = 2) {
    outcomes_ = testing::StageShards(*store_, job_.recipe(), fleet::AttemptStaging(job_, attempt), count);
    // Made by the first attempt, used by the second.
    WriteFile(fleet::CalibrationIdsUri(job_, 1), "ids");
    WriteFile(storage::JoinUri(fleet::AttemptStaging(job_, 1), "block-00000.safetensors"), "left over");
  }

  absl::Status Publish() { return publisher_.Publish(job_, outcomes_, {}, {}, &report_); }

  std::set<std::string> Output() const {
    std::set<std::string> names;
    if (!fs::exists(folder_ / "out")) return names;
    for (const auto& entry : fs::directory_iterator(folder_ / "out")) {
      if (entry.path().filename() != "_calipress") names.insert(entry.path().filename());
    }
    return names;
  }

  nlohmann::json Json(const std::string& name) const {
    return nlohmann::json::parse(ReadFile(folder_ / ("out/" + name)));
  }

  testing::TestFolder folder_;
  std::unique_ptr<storage::ObjectStore> store_;
  CheckpointPublisher publisher_;
  v1::CompressionJob job_;
  std::vector<worker::v1::StageOutcome> outcomes_;
  v1::Report report_;
};

inline const std::set<std::string> kThreeShards = {"config.json",
                                                   "tokenizer.json",
                                                   "tokenizer_config.json",
                                                   "recipe.yaml",
                                                   "replay.yaml",
                                                   "report.json",
                                                   "report.html",
                                                   "calibration_ids.npy",
                                                   "model.safetensors.index.json",
                                                   "model-00001-of-00003.safetensors",
                                                   "model-00002-of-00003.safetensors",
                                                   "model-00003-of-00003.safetensors"};

}  // namespace calipress::assembly
