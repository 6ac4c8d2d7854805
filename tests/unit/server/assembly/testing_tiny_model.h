#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "compress/arch/arch.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/storage/object_store.h"
#include "gtest/gtest.h"

namespace calipress::testing {

// A folder of its own for a test, removed with it.
class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "calipress-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void WriteFile(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// A Llama of two blocks that a test writes in no time: hidden 16, vocabulary 32, tied embeddings.
inline constexpr char kTinyConfig[] = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32, "hidden_size": 16,
  "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
  "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
  "tie_word_embeddings": true, "torch_dtype": "bfloat16"
})";

// Letters a to z as tokens 0 to 25; what else there is becomes 26. A tokenizer that reads whole words only.
inline std::string TinyTokenizer(int tokens = 27) {
  std::string vocabulary = "\"<unk>\": 0";
  for (int i = 1; i < tokens; ++i) vocabulary += ", \"w" + std::to_string(i) + "\": " + std::to_string(i);
  return R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {)" +
         vocabulary + R"(}, "unk_token": "<unk>"}})";
}

inline arch::ArchSpec TinySpec() { return arch::ParseConfig(kTinyConfig).value(); }

inline std::vector<checkpoint::TensorPlan> TinyTensors() {
  const arch::ArchSpec spec = TinySpec();
  std::vector<checkpoint::TensorPlan> plan;
  for (const auto& tensor : arch::OuterTensors(spec)) plan.push_back({tensor.name, spec.dtype, tensor.shape});
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (const auto& tensor : arch::BlockTensors(spec, block)) plan.push_back({tensor.name, spec.dtype, tensor.shape});
  }
  return plan;
}

// One safetensors file with zeros.
inline int64_t WriteTensors(storage::ObjectStore& store, const std::string& uri,
                            const std::vector<checkpoint::TensorPlan>& plan) {
  auto writer = checkpoint::SafetensorsWriter::Create(store, uri, plan);
  EXPECT_TRUE(writer.ok()) << writer.status();
  for (const auto& tensor : plan) {
    const std::string zeros(checkpoint::TensorBytes(tensor), '\0');
    EXPECT_TRUE((*writer)->Append(zeros.data(), static_cast<int64_t>(zeros.size())).ok());
  }
  const absl::Status closed = (*writer)->Close();
  EXPECT_TRUE(closed.ok()) << closed;
  return (*writer)->file_bytes();
}

inline void WriteTinyModel(storage::ObjectStore& store, const std::string& folder) {
  WriteFile(folder + "/config.json", kTinyConfig);
  WriteFile(folder + "/tokenizer.json", TinyTokenizer());
  WriteTensors(store, folder + "/model.safetensors", TinyTensors());
}

}  // namespace calipress::testing
