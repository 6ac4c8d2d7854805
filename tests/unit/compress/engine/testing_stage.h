#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "compress/arch/arch.h"
#include "compress/collective/group.h"
#include "compress/engine/stage.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine::testing {

class Recorder : public StageObserver {
 public:
  void OnProgress(const std::string& phase, double fraction, const std::string&) override {
    EXPECT_GE(fraction, 0.0) << phase;
    EXPECT_LE(fraction, 1.0) << phase;
  }
  void OnBlockFinished(const worker::v1::FinishedBlock& block) override { blocks[block.index()] = block; }
  void OnPhaseFinished(const v1::PhaseReport& phase) override { phases.push_back(phase.name()); }

  std::map<int, worker::v1::FinishedBlock> blocks;
  std::vector<std::string> phases;
};

class Stage : public ::testing::Test {
 protected:
  Stage() : folder_(std::filesystem::path(::testing::TempDir()) / ("stage" + std::to_string(getpid()))) {
    std::filesystem::remove_all(folder_);
  }
  ~Stage() override { std::filesystem::remove_all(folder_); }

  static std::string Data(const std::string& name) { return std::string(CALIPRESS_SOURCE_DIR "/tests/data/") + name; }

  worker::v1::Assignment Assignment(const std::string& yaml, const std::string& attempt) {
    auto recipe = recipe::ParseYaml(yaml);
    EXPECT_TRUE(recipe.ok()) << recipe.status();
    std::ifstream config(Data("mix-llama-5.8m/config.json"));
    std::stringstream text;
    text << config.rdbuf();
    const auto spec = arch::ParseConfig(text.str());
    EXPECT_TRUE(spec.ok()) << spec.status();
    worker::v1::Assignment assignment;
    assignment.set_world_size(1);
    assignment.set_model_uri(Data("mix-llama-5.8m"));
    assignment.set_staging_uri((folder_ / attempt).string());
    assignment.set_end_block(static_cast<int>(spec->blocks));
    *assignment.mutable_recipe() = recipe::Resolve(*recipe, *spec);
    return assignment;
  }

  absl::StatusOr<worker::v1::StageOutcome> Run(const worker::v1::Assignment& assignment, Recorder& recorder,
                                               int64_t budget = int64_t{4} << 30) {
    auto group = collective::JoinGroup("gloo", {}, CancellationToken());
    EXPECT_TRUE(group.ok()) << group.status();
    StageEnvironment environment{*store_, **group, "cpu", budget};
    return RunStage(assignment, environment, recorder, cancellation_);
  }

  static std::string Bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::string Yaml(const std::string& step, const std::string& extra = "") {
    return "calibration: {sources: [{text: {uri: '" + Data("calibration.jsonl") +
           "'}}], samples: 8, sequence_length: 64}\nsteps: [{" + step + "}]\n" + extra;
  }

  std::filesystem::path folder_;
  CancellationToken cancellation_;
  std::unique_ptr<storage::ObjectStore> store_ = storage::OpenObjectStore();
};

}  // namespace calipress::engine::testing
