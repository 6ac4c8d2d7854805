#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "compress/calibration/source.h"
#include "compress/storage/object_store.h"
#include "compress/tokenizer/tokenizer.h"

namespace calipress::calibration {

inline std::string CarriedModel(const std::string& file) {
  return std::string(CALIPRESS_SOURCE_DIR) + "/tests/data/mix-llama-5.8m/" + file;
}

inline std::string FileText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A folder that goes with the test, the real store, and the carried model's tokenizer (4096 ids, 1 is <s>).
class FileTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (tokenizer_ != nullptr) return;
    auto tokenizer = tokenizer::Tokenizer::FromJson(FileText(CarriedModel("tokenizer.json")));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = tokenizer->release();  // for the program's life
  }

  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "calibration_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // The path of a file with these bytes.
  std::string Write(const std::string& name, const std::string& bytes) const {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  SourceContext Context() { return {*store_, tokenizer_, /*vocabulary=*/4096, /*max_positions=*/256}; }

  std::vector<int64_t> Encode(const std::string& text) const {
    auto ids = tokenizer_->Encode(text, true);
    EXPECT_TRUE(ids.ok()) << ids.status();
    return ids.ok() ? *ids : std::vector<int64_t>();
  }

  std::string folder_;
  std::unique_ptr<storage::ObjectStore> store_ = storage::OpenObjectStore();
  static inline const tokenizer::Tokenizer* tokenizer_ = nullptr;
};

}  // namespace calipress::calibration
