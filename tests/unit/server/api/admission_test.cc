#include "server/api/admission.h"

#include <set>

#include "compress/base/error.h"
#include "compress/calibration/source.h"
#include "compress/recipe/recipe.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/unit/server/assembly/testing_tiny_model.h"

namespace calipress::api {
namespace {

namespace fs = std::filesystem;
using ::testing::Test;
using testing::WriteFile;

class AdmissionTest : public Test {
 protected:
  AdmissionTest() : store_(storage::OpenObjectStore()), admission_(store_.get()) {
    testing::WriteTinyModel(*store_, folder_ / "model");
    WriteFile(folder_ / "text.txt", "w1 w2 w3\n\nw4 w5\n");
    job_.set_model(folder_ / "model");
    job_.set_output(folder_ / "out");
    Use("{calibration: {sources: [{text: {uri: " + (folder_ / "text.txt") +
        "}}], samples: 4, sequence_length: 16}, steps: [{gptq: {group_size: 8}}], evaluation: {perplexity: [{name: t, "
        "uri: " +
        (folder_ / "text.txt") + "}]}}");
  }

  void Use(const std::string& yaml) {
    const auto recipe = recipe::ParseYaml(yaml);
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    *job_.mutable_recipe() = *recipe;
  }

  absl::StatusOr<v1::CompressionJob> Admit() { return admission_.Admit(job_, workers_); }

  void ExpectRefused(std::string_view reason, const std::string& says) {
    const auto admitted = Admit();
    ASSERT_FALSE(admitted.ok());
    EXPECT_EQ(ErrorReason(admitted.status()), reason) << admitted.status();
    EXPECT_EQ(ErrorClassOf(admitted.status()), ErrorClass::kUser) << admitted.status();
    EXPECT_NE(admitted.status().message().find(says), absl::string_view::npos) << admitted.status();
  }

  void ChangeConfig(const std::string& key, const nlohmann::json& value) {
    auto config = nlohmann::json::parse(testing::kTinyConfig);
    config[key] = value;
    WriteFile(folder_ / "model/config.json", config.dump());
  }

  testing::TestFolder folder_;
  std::unique_ptr<storage::ObjectStore> store_;
  Admission admission_;
  v1::CompressionJob job_;
  std::vector<v1::WorkerInfo> workers_;
};

TEST_F(AdmissionTest, ResolvesAndEstimates) {
  const auto admitted = Admit();
  ASSERT_TRUE(admitted.ok()) << admitted.status();
  EXPECT_EQ(admitted->recipe().steps(0).gptq().bits(), 4);
  EXPECT_EQ(admitted->recipe().steps(0).gptq().damping(), 0.01);
  int64_t parameters = 0;
  for (const auto& tensor : testing::TinyTensors()) parameters += checkpoint::TensorBytes(tensor) / 2;
  EXPECT_EQ(admitted->estimate().parameters(), parameters);
  EXPECT_EQ(admitted->estimate().source_bytes(), 2 * parameters);
  EXPECT_EQ(admitted->estimate().blocks(), 2);
  EXPECT_LT(admitted->estimate().output_bytes(), 2 * parameters);
  EXPECT_GT(admitted->estimate().output_bytes(), parameters / 2);
  EXPECT_GT(admitted->estimate().worker_memory_bytes(), int64_t{64} << 20);
  // Nothing is left behind.
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(AdmissionTest, AStudyTakesAsMuchAsItsCheckpoints) {
  const auto bytes = [&](const std::string& keep) {
    Use("{study: {methods: [{name: a, steps: [{rtn: {group_size: 8}}]}, {name: b, steps: [{rtn: {group_size: 8}}]}], "
        "sources: [{name: s, sources: [{text: {uri: " +
        (folder_ / "text.txt") + "}}]}], draws: 1, keep: " + keep +
        "}, calibration: {samples: 4, sequence_length: 16}, evaluation: {perplexity: [{name: t, uri: " +
        (folder_ / "text.txt") + "}]}}");
    const auto admitted = Admit();
    EXPECT_TRUE(admitted.ok()) << admitted.status();
    return admitted.ok() ? admitted->estimate().output_bytes() : -1;
  };
  const int64_t one = bytes("best");
  EXPECT_GT(one, 0);
  EXPECT_EQ(bytes("none"), 0);
  EXPECT_EQ(bytes("best-of-each-method"), 2 * one);
  EXPECT_EQ(bytes("[a/s/0]"), one);
}

TEST_F(AdmissionTest, NeedsAModel) {
  job_.set_model(folder_ / "nowhere");
  ExpectRefused(reason::kSourceModelNotFound, "nowhere/config.json");
  job_.set_model(folder_ / "model");
  fs::remove(folder_ / "model/model.safetensors");
  ExpectRefused(reason::kSourceModelNotFound, "model");
}

TEST_F(AdmissionTest, NeedsAFamilyThatItKnows) {
  ChangeConfig("model_type", "mamba");
  ExpectRefused(reason::kUnsupportedModel, "mamba");
}

TEST_F(AdmissionTest, NeedsEveryTensorInItsShape) {
  auto plan = testing::TinyTensors();
  plan.erase(std::find_if(plan.begin(), plan.end(),
                          [](const auto& tensor) { return tensor.name == "model.layers.1.mlp.up_proj.weight"; }));
  for (auto& tensor : plan) {
    if (tensor.name == "model.norm.weight") tensor.shape = {15};
    if (tensor.name == "model.layers.0.self_attn.q_proj.weight") tensor.dtype = Dtype::kI32;
  }
  testing::WriteTensors(*store_, folder_ / "model/model.safetensors", plan);
  ExpectRefused(reason::kSourceModelCorrupt, "no tensor model.layers.1.mlp.up_proj.weight");
  const std::string message(Admit().status().message());
  EXPECT_NE(message.find("model.norm.weight has shape [15], config.json says [16]"), std::string::npos) << message;
  EXPECT_NE(message.find("q_proj.weight is I32"), std::string::npos) << message;
}

TEST_F(AdmissionTest, RefusesHostileHeaders) {
  for (const std::string& bytes : {std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}"),
                                   std::string("\x02\0\0\0\0\0\0\0{}", 10), std::string("abc")}) {
    WriteFile(folder_ / "model/model.safetensors", bytes);
    const auto admitted = Admit();
    EXPECT_EQ(ErrorReason(admitted.status()), reason::kSourceModelCorrupt) << admitted.status();
  }
}

TEST_F(AdmissionTest, RefusesAShardThatTheIndexNamesAndTheFolderLacks) {
  fs::rename(folder_ / "model/model.safetensors", folder_ / "model/model-00001-of-00002.safetensors");
  nlohmann::json index = {{"metadata", {{"total_size", 1}}}};
  for (const auto& tensor : testing::TinyTensors())
    index["weight_map"][tensor.name] = "model-00001-of-00002.safetensors";
  index["weight_map"]["model.norm.weight"] = "model-00002-of-00002.safetensors";
  WriteFile(folder_ / "model/model.safetensors.index.json", index.dump());
  ExpectRefused(reason::kSourceModelCorrupt, "model-00002-of-00002.safetensors");
}

TEST_F(AdmissionTest, RefusesATokenizerOfAnotherModel) {
  WriteFile(folder_ / "model/tokenizer.json", testing::TinyTokenizer(40));
  ExpectRefused(reason::kSourceModelCorrupt, "32 rows");
  EXPECT_NE(Admit().status().message().find("ids up to 39"), absl::string_view::npos);
  fs::remove(folder_ / "model/tokenizer.json");
  ExpectRefused(reason::kSourceModelCorrupt, "tokenizer.json");
  // Nobody asks for it where nothing is tokenized.
  Use("{steps: [{rtn: {group_size: 8}}]}");
  EXPECT_TRUE(Admit().ok()) << Admit().status();
}

TEST_F(AdmissionTest, NamesEveryFieldThatDoesNotFitTheModel) {
  Use("{calibration: {sources: [{text: {uri: " + (folder_ / "absent.txt") +
      "}}], samples: 4, sequence_length: 999}, steps: [{gptq: {group_size: 7}}]}");
  const auto admitted = Admit();
  EXPECT_EQ(ErrorReason(admitted.status()), reason::kInvalidRecipe);
  std::set<std::string> fields;
  for (const auto& violation : Violations(admitted.status())) fields.insert(violation.field);
  EXPECT_EQ(fields, (std::set<std::string>{"recipe.calibration.sources[0].text.uri",
                                           "recipe.calibration.sequence_length", "recipe.steps[0].gptq.group_size"}))
      << admitted.status();
}

TEST_F(AdmissionTest, NeedsDataThatIsThere) {
  WriteFile(folder_ / "text.txt", "");
  ExpectRefused(reason::kInvalidCalibrationData, "is empty");
  EXPECT_EQ(Violations(Admit().status()).size(), 2u);
  fs::remove(folder_ / "text.txt");
  ExpectRefused(reason::kInvalidCalibrationData, "there is no");
  fs::create_directory(folder_ / "text.txt");
  ExpectRefused(reason::kInvalidCalibrationData, "is a folder");
}

TEST_F(AdmissionTest, NeedsAnOutputOfItsOwn) {
  fs::create_directories(folder_ / "out");
  WriteFile(folder_ / "out/_calipress/run.db", "its own");
  EXPECT_TRUE(Admit().ok()) << Admit().status();
  WriteFile(folder_ / "out/config.json", "{}");
  ExpectRefused(reason::kOutputExists, "config.json");
  for (const std::string& inside :
       {folder_ / "model", folder_ / "model/quantized", folder_ / "x/../model/y", "file://" + (folder_ / "model")}) {
    job_.set_output(inside);
    ExpectRefused(reason::kInvalidRequest, "model's own folder");
  }
  job_.set_output(folder_ / "model-2");
  EXPECT_TRUE(Admit().ok()) << Admit().status();
  job_.set_output(folder_ / "text.txt");
  ExpectRefused(reason::kOutputExists, "is a file");
}

TEST_F(AdmissionTest, ComparesOnlyWhatCanBeCompared) {
  testing::WriteTinyModel(*store_, folder_ / "reference");
  job_.clear_output();
  Use("{evaluation: {perplexity: [{name: t, uri: " + (folder_ / "text.txt") +
      "}], reference: " + (folder_ / "reference") + "}}");
  ASSERT_TRUE(Admit().ok()) << Admit().status();
  EXPECT_EQ(Admit()->estimate().output_bytes(), 0);
  fs::remove(folder_ / "reference/config.json");
  ExpectRefused(reason::kSourceModelNotFound, "recipe.evaluation.reference");
}

TEST_F(AdmissionTest, RefusesWhatNoWorkerCanHold) {
  v1::WorkerInfo worker;
  worker.set_id("w-1");
  worker.set_state(v1::WorkerInfo::IDLE);
  worker.set_device("cpu");
  worker.set_memory_bytes(1000);
  workers_ = {worker};
  ExpectRefused(reason::kInsufficientMemory, "w-1, has 1000");
  worker.set_memory_bytes(int64_t{8} << 30);
  workers_.push_back(worker);
  EXPECT_TRUE(Admit().ok()) << Admit().status();
  // Of the right kind.
  job_.mutable_placement()->set_device("cuda");
  EXPECT_TRUE(Admit().ok()) << "no worker of that kind is known yet";
}

TEST_F(AdmissionTest, MemoryGrowsWithTheCalibrationAndWithTheStage) {
  const int64_t base = Admit()->estimate().worker_memory_bytes();
  job_.mutable_recipe()->mutable_calibration()->set_samples(1 << 20);
  const int64_t more_samples = Admit()->estimate().worker_memory_bytes();
  EXPECT_GE(more_samples - base, int64_t{2} * ((1 << 20) - 4) * 16 * 16 * 2 - (4 << 20));
  auto* gptq = job_.mutable_recipe()->mutable_steps(0)->mutable_gptq();
  gptq->set_true_sequential(false);
  job_.mutable_recipe()->set_propagation(v1::PROPAGATION_ORIGINAL);
  const int64_t whole_model = Admit()->estimate().worker_memory_bytes();
  EXPECT_GT(whole_model, more_samples);
  job_.mutable_placement()->set_workers(2);
  EXPECT_LT(Admit()->estimate().worker_memory_bytes(), whole_model);
}

TEST_F(AdmissionTest, ATokenFileSaysHowMuchMemoryItNeeds) {
  const auto memory = [&](int64_t sequences, int64_t length) {
    calibration::TokenMatrix tokens{sequences, length, std::vector<int64_t>(sequences * length, 1)};
    WriteFile(folder_ / "ids.npy", calibration::FormatNpy(tokens));
    Use("{calibration: {sources: [{token_ids: {uri: " + (folder_ / "ids.npy") +
        "}}]}, steps: [{gptq: {group_size: 8}}]}");
    const auto admitted = Admit();
    EXPECT_TRUE(admitted.ok()) << admitted.status();
    return admitted.ok() ? admitted->estimate().worker_memory_bytes() : 0;
  };
  const int64_t small = memory(64, 64);
  // Twice the tokens are twice the activations, and longer rows have more attention scores.
  EXPECT_GT(memory(128, 64), small);
  EXPECT_GT(memory(2, 2048), small);
}

TEST_F(AdmissionTest, RefusesATokenFileThatIsNone) {
  WriteFile(folder_ / "ids.npy", "PK not an array");
  Use("{calibration: {sources: [{token_ids: {uri: " + (folder_ / "ids.npy") +
      "}}]}, steps: [{gptq: {group_size: 8}}]}");
  ExpectRefused(reason::kInvalidCalibrationData, "ids.npy");
}

TEST_F(AdmissionTest, InstructionsNeedAChatTemplate) {
  WriteFile(folder_ / "chats.jsonl", "{}");
  Use("{calibration: {sources: [{random_vocabulary: {}}, {instructions: {uri: " + (folder_ / "chats.jsonl") +
      "}}], sequence_length: 16}, steps: [{gptq: {group_size: 8}}]}");
  ExpectRefused(reason::kInvalidCalibrationData, "the model has no chat template");
  ASSERT_EQ(Violations(Admit().status()).size(), 1u);
  EXPECT_EQ(Violations(Admit().status())[0].field, "recipe.calibration.sources[1].instructions");
  WriteFile(folder_ / "model/chat_template.jinja", "{% for m in messages %}{{ m.content }");
  ExpectRefused(reason::kInvalidCalibrationData, "chat template cannot be read");
  WriteFile(folder_ / "model/chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
  EXPECT_TRUE(Admit().ok()) << Admit().status();
}

// Every source needs the memory of its share.
TEST_F(AdmissionTest, SourcesAreCountedTogether) {
  const auto memory = [&](const std::string& samples) {
    Use("{calibration: {sources: [{random_vocabulary: {}, samples: " + samples + "}, {text: {uri: " +
        (folder_ / "text.txt") + "}}], samples: 4, sequence_length: 16}, steps: [{gptq: {group_size: 8}}]}");
    const auto admitted = Admit();
    EXPECT_TRUE(admitted.ok()) << admitted.status();
    return admitted.ok() ? admitted->estimate().worker_memory_bytes() : 0;
  };
  EXPECT_EQ(memory("1001") - memory("1"), int64_t{2} * 1000 * 16 * 16 * 2);
}

TEST_F(AdmissionTest, WarnsOfFewerTokensThanColumns) {
  const auto warnings = [&](const std::string& calibration, const std::string& step) {
    Use("{calibration: {" + calibration + "}, steps: [{" + step + "}]}");
    const auto admitted = Admit();
    EXPECT_TRUE(admitted.ok()) << admitted.status();
    std::string all;
    for (const auto& warning : admitted->estimate().warnings()) all += warning + "\n";
    return all;
  };
  const std::string two = "sources: [{random_vocabulary: {}}], samples: 2, sequence_length: 16";
  const std::string one = "sources: [{random_vocabulary: {}}], samples: 1, sequence_length: 16";
  const std::string says = "16 calibration tokens are fewer than the 32 input columns of model.layers.0.mlp.down_proj";
  EXPECT_EQ(warnings(two, "gptq: {group_size: 8}").find("calibration tokens"), std::string::npos);
  for (const char* step : {"gptq: {group_size: 8}", "sparsegpt: {}", "spqr: {group_size: 8}"}) {
    EXPECT_NE(warnings(one, step).find(says), std::string::npos) << step << ": " << warnings(one, step);
  }
  EXPECT_EQ(warnings(one, "wanda: {}").find("calibration tokens"), std::string::npos) << "no Hessian is inverted";
}

TEST_F(AdmissionTest, AQuantizedModelIsOnlyEvaluated) {
  // A checkpoint as calipress writes it: one block packed, one dense.
  const arch::ArchSpec spec = testing::TinySpec();
  std::vector<checkpoint::QuantizedModule> packed;
  std::vector<std::string> dense = {"lm_head"};
  for (const auto& linear : arch::BlockLinears(spec, 0)) packed.push_back({linear.module, {4, 8, true}});
  for (const auto& linear : arch::BlockLinears(spec, 1)) dense.push_back(linear.module);
  const auto config = checkpoint::QuantizedConfig(testing::kTinyConfig, packed, dense);
  ASSERT_TRUE(config.ok()) << config.status();
  std::vector<checkpoint::TensorPlan> plan;
  for (const auto& tensor : testing::TinyTensors()) {
    const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
    const bool is_packed = std::any_of(packed.begin(), packed.end(), [&](const auto& m) { return m.module == module; });
    if (!is_packed) {
      plan.push_back(tensor);
      continue;
    }
    for (auto& part :
         checkpoint::PackedLinearPlan(module, tensor.shape[0], tensor.shape[1], {4, 8, true}, tensor.dtype)) {
      plan.push_back(part);
    }
  }
  WriteFile(folder_ / "model/config.json", *config);
  testing::WriteTensors(*store_, folder_ / "model/model.safetensors", plan);
  ExpectRefused(reason::kUnsupportedCombination, "quantized already");
  job_.clear_output();
  Use("{evaluation: {perplexity: [{name: t, uri: " + (folder_ / "text.txt") + "}]}}");
  EXPECT_TRUE(Admit().ok()) << Admit().status();
}

}  // namespace
}  // namespace calipress::api
