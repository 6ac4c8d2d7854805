// Logits of a checkpoint on the CPU, for comparison with transformers:
//   calipress-test-logits MODEL_DIR IDS.npy OUT.npy [f32|bf16]
// IDS.npy is int64 [n, length]; OUT.npy becomes fp32 [n, length, vocabulary]. Packed linears are dequantized.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "absl/status/status.h"
#include "compress/arch/arch.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/source.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/model/block.h"
#include "compress/model/weights.h"
#include "compress/storage/object_store.h"

namespace calipress {
namespace {

constexpr int64_t kConfigLimit = 16 << 20;
constexpr int64_t kIdsLimit = int64_t{1} << 30;
constexpr int64_t kBatch = 8;  // rows per forward

// Writes blocks of rows to one .npy of fp32.
absl::Status WriteNpy(storage::ObjectStore& store, const std::string& uri, int64_t rows, int64_t length,
                      int64_t vocabulary, const std::vector<at::Tensor>& parts) {
  std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                     std::to_string(length) + ", " + std::to_string(vocabulary) + "), }";
  while ((10 + dict.size() + 1) % 64 != 0) dict += ' ';
  dict += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(dict.size() & 0xff);
  header += static_cast<char>(dict.size() >> 8);
  header += dict;
  CALIPRESS_ASSIGN_OR_RETURN(auto writer, store.Create(uri));
  CALIPRESS_RETURN_IF_ERROR(writer->Write(header.data(), static_cast<int64_t>(header.size())));
  for (const at::Tensor& part : parts) {
    CALIPRESS_RETURN_IF_ERROR(writer->Write(part.const_data_ptr(), static_cast<int64_t>(part.nbytes())));
  }
  return writer->Close();
}

absl::Status Run(const std::string& model_dir, const std::string& ids_uri, const std::string& out_uri,
                 const std::string& dtype_name) {
  const at::ScalarType dtype = dtype_name == "bf16" ? at::kBFloat16 : at::kFloat;
  const std::unique_ptr<storage::ObjectStore> store = storage::OpenObjectStore();
  CALIPRESS_ASSIGN_OR_RETURN(const std::string config,
                             store->ReadAll(storage::JoinUri(model_dir, "config.json"), kConfigLimit));
  CALIPRESS_ASSIGN_OR_RETURN(const arch::ArchSpec spec, arch::ParseConfig(config));
  CALIPRESS_ASSIGN_OR_RETURN(checkpoint::QuantizationConfig quantization, checkpoint::ParseQuantizationConfig(config));
  CALIPRESS_ASSIGN_OR_RETURN(const auto reader, checkpoint::ModelReader::Open(*store, model_dir));
  const auto weights = model::CheckpointWeights(*reader, std::move(quantization), dtype, at::kCPU);

  CALIPRESS_ASSIGN_OR_RETURN(const std::string ids_bytes, store->ReadAll(ids_uri, kIdsLimit));
  CALIPRESS_ASSIGN_OR_RETURN(const calibration::TokenMatrix tokens, calibration::ParseNpy(ids_bytes));
  const at::Tensor ids =
      at::from_blob(const_cast<int64_t*>(tokens.ids.data()), {tokens.sequences, tokens.length}, at::kLong);

  CALIPRESS_ASSIGN_OR_RETURN(const model::Embedding embedding, model::Embedding::Load(spec, *weights));
  std::vector<at::Tensor> parts;
  for (int64_t row = 0; row < tokens.sequences; row += kBatch) {
    parts.push_back(embedding.Forward(ids.narrow(0, row, std::min(kBatch, tokens.sequences - row))));
  }
  const model::RotaryTable rotary = model::MakeRotaryTable(spec, tokens.length, at::kCPU);
  for (int64_t index = 0; index < spec.blocks; ++index) {
    CALIPRESS_ASSIGN_OR_RETURN(const model::Block block,
                               model::Block::Load(spec, index, *weights, /*quantize_inputs=*/true));
    for (at::Tensor& part : parts) part = block.Forward(part, rotary);
  }
  CALIPRESS_ASSIGN_OR_RETURN(const model::Head head, model::Head::Load(spec, *weights));
  for (at::Tensor& part : parts) part = head.Forward(part).to(at::kFloat).contiguous();
  return WriteNpy(*store, out_uri, tokens.sequences, tokens.length, spec.vocabulary, parts);
}

}  // namespace
}  // namespace calipress

int main(int argc, char** argv) {
  const std::string dtype = argc == 5 ? argv[4] : "f32";
  if (argc < 4 || argc > 5 || (dtype != "f32" && dtype != "bf16")) {
    std::fprintf(stderr, "usage: calipress-test-logits MODEL_DIR IDS.npy OUT.npy [f32|bf16]\n");
    return 2;
  }
  const absl::Status status = calipress::Run(argv[1], argv[2], argv[3], dtype);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s: %s\n", std::string(calipress::ErrorReason(status)).c_str(),
               std::string(status.message()).c_str());
  return 1;
}
