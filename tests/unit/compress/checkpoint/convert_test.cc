#include "compress/checkpoint/convert/convert.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/base/error.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/checkpoint/inspect/inspect.h"
#include "compress/checkpoint/shard_plan.h"
#include "compress/checkpoint/source_checkpoint.h"
#include "nlohmann/json.hpp"
#include "testing_codes.h"
#include "tests/unit/server/assembly/testing_tiny_model.h"

namespace calipress::checkpoint {
namespace {

using calipress::testing::ReadFile;
using calipress::testing::TestFolder;
using calipress::testing::WriteFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// The tiny Llama (hidden 16, intermediate 32) with every linear of its blocks quantized.
class ConvertTest : public ::testing::Test {
 protected:
  // `dtype` is the model's and the scales'.
  void WriteModel(
      const std::string& uri, const LinearFormat& format, const QuantizationScheme& scheme, Dtype dtype,
      const std::function<void(CodesLinear*)>& change = [](CodesLinear*) {}) {
    std::string config = calipress::testing::kTinyConfig;
    if (dtype == Dtype::kF16) config.replace(config.find("bfloat16"), 8, "float16");
    const arch::ArchSpec spec = arch::ParseConfig(config).value();
    std::vector<QuantizedModule> modules;
    std::map<std::string, StoredTensor> codes;
    std::vector<std::vector<TensorPlan>> blocks(spec.blocks);
    uint64_t seed = 0;
    for (int64_t block = 0; block < spec.blocks; ++block) {
      std::map<std::string, std::vector<TensorPlan>> packed;
      for (const auto& linear : arch::BlockLinears(spec, block)) {
        CodesLinear random = testing::RandomLinear(scheme, linear.out, linear.in, dtype, ++seed);
        change(&random);
        codes.merge(testing::Store(format, linear.module, random));
        modules.push_back({linear.module, scheme});
        packed[linear.module + ".weight"] = format.Plan(linear.module, linear.out, linear.in, scheme, dtype);
      }
      for (const auto& tensor : arch::BlockTensors(spec, block)) {
        const auto found = packed.find(tensor.name);
        if (found == packed.end()) {
          blocks[block].push_back({tensor.name, dtype, tensor.shape});
        } else {
          blocks[block].insert(blocks[block].end(), found->second.begin(), found->second.end());
        }
      }
    }
    // Through the plan that jobs use, so that files may be compared.
    const std::string dense = folder_ / "dense";
    std::vector<TensorPlan> outer;
    for (const auto& tensor : arch::OuterTensors(spec)) outer.push_back({tensor.name, dtype, tensor.shape});
    calipress::testing::WriteTensors(*store_, dense + "/model.safetensors", outer);
    const auto reader = ModelReader::Open(*store_, dense).value();
    const auto shards = PlanShards(spec, *reader, blocks, kDefaultShardBytes, [](Dtype same) { return same; });
    ASSERT_THAT(shards, SizeIs(1));
    std::vector<TensorPlan> plan;
    for (const PlannedTensor& planned : shards[0].tensors) plan.push_back(planned.tensor);
    auto writer = SafetensorsWriter::Create(*store_, uri + "/model.safetensors", plan).value();
    for (const TensorPlan& tensor : plan) {
      const auto found = codes.find(tensor.name);
      const std::vector<char> bytes =
          found == codes.end() ? std::vector<char>(TensorBytes(tensor), 0x11) : found->second.bytes;
      ASSERT_TRUE(writer->Append(bytes.data(), static_cast<int64_t>(bytes.size())).ok());
    }
    ASSERT_TRUE(writer->Close().ok());
    WriteFile(uri + "/config.json", format.Config(config, modules, {"lm_head"}).value());
    WriteFile(uri + "/tokenizer.json", calipress::testing::TinyTokenizer());
    std::filesystem::remove_all(dense);
  }

  absl::StatusOr<Conversion> To(const std::string& from, const std::string& to, const std::string& format) {
    return Convert(*store_, from, to, format, CancellationToken());
  }

  std::vector<std::string> Files(const std::string& uri) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(uri)) {
      names.push_back(std::filesystem::relative(entry.path(), uri).string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // The weights of all linears as loaders make them, in fp32's order of bytes.
  std::string Weights(const std::string& uri) {
    const SourceCheckpoint source = OpenCheckpoint(*store_, uri).value();
    std::string all;
    for (int64_t block = 0; block < source.spec.blocks; ++block) {
      for (const auto& linear : arch::BlockLinears(source.spec, block)) {
        const auto* scheme = source.quantization.SchemeOf(linear.module);
        std::string bytes(linear.out * linear.in * 2, '\0');
        if (scheme == nullptr) {
          const TensorInfo* info = source.reader->Find(linear.module + ".weight");
          EXPECT_TRUE(source.reader->Read(*info, bytes.data()).ok());
        } else {
          const auto decoded = source.quantization.format->Decode(linear.module, linear.out, linear.in, *scheme,
                                                                  SourceOf(*source.reader));
          EXPECT_TRUE(decoded.ok()) << decoded.status();
          if (decoded.ok()) DequantizeRows(decoded->View(), 0, linear.out, bytes.data());
        }
        all += bytes;
      }
    }
    return all;
  }

  TestFolder folder_;
  std::unique_ptr<storage::ObjectStore> store_ = storage::OpenObjectStore();
};

TEST_F(ConvertTest, ThereAndBackIsTheSameFile) {
  WriteModel(folder_ / "in", CompressedTensors(), {4, 8, true}, Dtype::kF16);
  for (const std::string format : {"gptq", "awq"}) {
    const auto there = To(folder_ / "in", folder_ / format, format);
    ASSERT_TRUE(there.ok()) << there.status();
    EXPECT_EQ(there->from, "compressed-tensors");
    EXPECT_THAT(there->warnings, IsEmpty());
    EXPECT_EQ(Weights(folder_ / format), Weights(folder_ / "in"));
    const auto back = To(folder_ / format, folder_ / (format + "-back"), "compressed-tensors");
    ASSERT_TRUE(back.ok()) << back.status();
    for (const char* file : {"model.safetensors", "config.json", "tokenizer.json"}) {
      EXPECT_EQ(ReadFile(folder_ / (format + "-back/" + file)), ReadFile(folder_ / (std::string("in/") + file)))
          << format << file;
    }
  }
  // gptq -> awq -> gptq, which no compressed-tensors is between.
  ASSERT_TRUE(To(folder_ / "gptq", folder_ / "second", "awq").ok());
  ASSERT_TRUE(To(folder_ / "second", folder_ / "third", "gptq").ok());
  EXPECT_EQ(Files(folder_ / "third"),
            (std::vector<std::string>{"config.json", "model.safetensors", "quantize_config.json", "tokenizer.json"}));
  for (const std::string& file : Files(folder_ / "third")) {
    EXPECT_EQ(ReadFile(folder_ / ("third/" + file)), ReadFile(folder_ / ("gptq/" + file))) << file;
  }
}

TEST_F(ConvertTest, AsymmetricCodesGoToAwqAndNotToGptq) {
  WriteModel(folder_ / "in", CompressedTensors(), {4, 8, false}, Dtype::kF16);
  ASSERT_TRUE(To(folder_ / "in", folder_ / "awq", "awq").ok());
  ASSERT_TRUE(To(folder_ / "awq", folder_ / "back", "compressed-tensors").ok());
  EXPECT_EQ(ReadFile(folder_ / "back/model.safetensors"), ReadFile(folder_ / "in/model.safetensors"));
  EXPECT_EQ(Weights(folder_ / "awq"), Weights(folder_ / "in"));
  const auto refused = To(folder_ / "awq", folder_ / "gptq", "gptq");
  EXPECT_EQ(ErrorReason(refused.status()), reason::kUnsupportedCombination);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("symmetric"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "gptq"));
}

TEST_F(ConvertTest, ToDenseInTheDtypeOfTheScales) {
  for (const Dtype dtype : {Dtype::kF16, Dtype::kBF16}) {
    const std::string in = folder_ / ("in" + std::string(DtypeName(dtype))), out = in + "-dense";
    WriteModel(in, CompressedTensors(), {3, 8, false}, dtype);
    const auto done = To(in, out, "dense");
    ASSERT_TRUE(done.ok()) << done.status();
    EXPECT_EQ(Weights(out), Weights(in));
    const auto inspection = Inspect(*store_, out, true, CancellationToken());
    ASSERT_TRUE(inspection.ok()) << inspection.status();
    EXPECT_EQ(inspection->format, "dense");
    EXPECT_EQ(inspection->linears[0].scheme, DtypeName(dtype));
  }
}

TEST_F(ConvertTest, NumbersOfEightBitsGoToDense) {
  int number = 0;
  for (const NumberType type : {NumberType::kFloat, NumberType::kInt}) {
    for (const Activations activations : {Activations::kDynamic, Activations::kStatic}) {
      const std::string in = folder_ / ("eight" + std::to_string(number++)), out = in + "-dense";
      WriteModel(in, CompressedTensors(), {8, -1, true, type, Strategy::kChannel, activations}, Dtype::kBF16);
      const auto found = Inspect(*store_, in, true, CancellationToken());
      ASSERT_TRUE(found.ok()) << found.status();
      EXPECT_THAT(found->linears[0].scheme,
                  HasSubstr(type == NumberType::kFloat ? "float8 channel, inputs" : "int8 channel, inputs"));
      const auto done = To(in, out, "dense");
      ASSERT_TRUE(done.ok()) << done.status();
      EXPECT_EQ(Weights(out), Weights(in));
      // Programs will not round the inputs of a dense model.
      EXPECT_THAT(done->warnings, ElementsAre(HasSubstr("inputs")));
      EXPECT_EQ(ErrorReason(To(in, in + "-gptq", "gptq").status()), reason::kUnsupportedCombination);
    }
  }
}

TEST_F(ConvertTest, Bf16ScalesGoToF16WhereTheyAreTheSame) {
  WriteModel(folder_ / "in", CompressedTensors(), {4, 8, true}, Dtype::kBF16);
  const auto done = To(folder_ / "in", folder_ / "out", "gptq");
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(nlohmann::json::parse(ReadFile(folder_ / "out/config.json"))["torch_dtype"], "float16");
  // What is no codes has 0x1111, far below F16's least number.
  EXPECT_THAT(done->warnings, SizeIs(1));
  WriteModel(folder_ / "tiny", CompressedTensors(), {4, 8, true}, Dtype::kBF16, [](CodesLinear* linear) {
    linear->scales[0] = 0x01;
    linear->scales[1] = 0x33;  // 2^-25 and a bit
  });
  const auto refused = To(folder_ / "tiny", folder_ / "refused", "gptq");
  EXPECT_EQ(ErrorReason(refused.status()), reason::kUnsupportedCombination);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("q_proj"));
  // Nothing is left of it.
  EXPECT_TRUE(!std::filesystem::exists(folder_ / "refused") || Files(folder_ / "refused").empty());
}

TEST_F(ConvertTest, RefusesWhatDoesNotFit) {
  WriteModel(folder_ / "in", CompressedTensors(), {8, 16, true}, Dtype::kF16);
  EXPECT_THAT(std::string(To(folder_ / "in", folder_ / "out", "awq").status().message()), HasSubstr("4 bits"));
  EXPECT_THAT(std::string(To(folder_ / "in", folder_ / "out", "compressed-tensors").status().message()),
              HasSubstr("already"));
  EXPECT_THAT(std::string(To(folder_ / "in", folder_ / "out", "gguf").status().message()), HasSubstr("must be"));
  ASSERT_TRUE(To(folder_ / "in", folder_ / "dense", "dense").ok());
  EXPECT_THAT(std::string(To(folder_ / "dense", folder_ / "out", "gptq").status().message()), HasSubstr("no codes"));
  EXPECT_EQ(ErrorReason(To(folder_ / "in", folder_ / "dense", "gptq").status()), reason::kOutputExists);
  EXPECT_EQ(ErrorReason(To(folder_ / "in", folder_ / "in", "gptq").status()), reason::kOutputExists);
  EXPECT_EQ(ErrorReason(To(folder_ / "nowhere", folder_ / "out", "gptq").status()), reason::kSourceModelNotFound);
}

TEST_F(ConvertTest, ForeignFilesStay) {
  WriteModel(folder_ / "in", CompressedTensors(), {4, 8, true}, Dtype::kF16);
  WriteFile(folder_ / "out/tokenizer.json", "mine");
  EXPECT_EQ(ErrorReason(To(folder_ / "in", folder_ / "out", "gptq").status()), reason::kOutputExists);
  EXPECT_EQ(Files(folder_ / "out"), std::vector<std::string>{"tokenizer.json"});
  EXPECT_EQ(ReadFile(folder_ / "out/tokenizer.json"), "mine");
}

TEST_F(ConvertTest, WhatAKilledConversionLeftIsSwept) {
  WriteModel(folder_ / "in", CompressedTensors(), {4, 8, true}, Dtype::kF16);
  WriteFile(folder_ / "out/_calipress/convert/publishing.json",
            R"({"files": ["model.safetensors", "tokenizer.json"]})");
  WriteFile(folder_ / "out/_calipress/convert/model-00002-of-00002.safetensors", "half");
  WriteFile(folder_ / "out/model.safetensors", "half");
  const auto done = To(folder_ / "in", folder_ / "out", "gptq");
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(Files(folder_ / "out"),
            (std::vector<std::string>{"config.json", "model.safetensors", "quantize_config.json", "tokenizer.json"}));
}

TEST_F(ConvertTest, CancelledLeavesNothing) {
  WriteModel(folder_ / "in", CompressedTensors(), {4, 8, true}, Dtype::kF16);
  CancellationToken cancelled;
  cancelled.Cancel(absl::CancelledError("now"));
  EXPECT_FALSE(Convert(*store_, folder_ / "in", folder_ / "out", "gptq", cancelled).ok());
  EXPECT_TRUE(!std::filesystem::exists(folder_ / "out") || Files(folder_ / "out").empty());
}

TEST_F(ConvertTest, InspectCountsBitsAndZeros) {
  for (const LinearFormat* format : {&CompressedTensors(), &Gptq(), &Awq()}) {
    const std::string uri = folder_ / std::string(format->name());
    // Codes of every second pair of columns are zero: 2 of 4.
    WriteModel(uri, *format, {4, 8, true}, Dtype::kF16, [](CodesLinear* linear) {
      for (size_t i = 0; i < linear->codes.size(); ++i) linear->codes[i] = i % 4 < 2 ? 0 : 1;
    });
    const auto found = Inspect(*store_, uri, true, CancellationToken());
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->format, format->name());
    ASSERT_EQ(found->linears.size(), 14u);
    const LinearInspection& query = found->linears[0];
    EXPECT_EQ(query.module, "model.layers.0.self_attn.q_proj");
    EXPECT_EQ(query.scheme, format == &Awq() ? "int4 g8 asymmetric" : "int4 g8");
    EXPECT_EQ(query.zeros->zeros, 16 * 16 / 2);
    EXPECT_EQ(query.zeros->run_zeros, 2);
    EXPECT_EQ(query.zeros->of, 4);
    // Codes and scales of 16 bits for each 8 weights; then shapes, or zero points, or the group of each column.
    const double more = format == &CompressedTensors() ? 16 * 8 : format == &Awq() ? 16 * 2 * 4 : 16 * 2 * 4 + 16 * 32;
    EXPECT_DOUBLE_EQ(query.BitsPerWeight(), 4 + 2 + more / (16 * 16));
    EXPECT_EQ(*found->linear_zeros * 2, found->linear_weights);
    const auto headers = Inspect(*store_, uri, false, CancellationToken());
    EXPECT_FALSE(headers->linear_zeros || headers->linears[0].zeros);
    EXPECT_EQ(headers->linear_bytes, found->linear_bytes);
  }
}

TEST(ZeroCounter, RunsOfFourAndEight) {
  const auto count = [](const std::vector<float>& row) {
    ZeroCounter counter(static_cast<int64_t>(row.size()), 4);
    counter.Add(row.data(), 1);
    return counter.Result();
  };
  const ZeroCount half = count({0, 0, 0, -0.0f, 1, 1, 1, 1});
  EXPECT_EQ(half.zeros, 4);
  EXPECT_EQ(half.run_zeros, 4);
  EXPECT_EQ(half.of, 8);
  EXPECT_EQ(count({1, 0, 0, 1, 1, 1, 0, 0}).of, 4);
  EXPECT_EQ(count({1, 0, 0, 1, 1, 1, 0, 1e-45f}).run_zeros, 3);  // 3:8 says more than 1:4
  EXPECT_EQ(count({1, 2, 3, 4}).of, 0);
  EXPECT_EQ(count({0, 0, 0, 0, 0, 0}).of, 0);  // a broken run
}

}  // namespace
}  // namespace calipress::checkpoint
