#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "compress/arch/arch.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/storage/object_store.h"

namespace calipress::checkpoint {

// A checkpoint that is open for reading.
struct SourceCheckpoint {
  std::string config_json;
  arch::ArchSpec spec;
  QuantizationConfig quantization;
  std::unique_ptr<ModelReader> reader;
};
// SOURCE_MODEL_NOT_FOUND where there is no config.json, and what its parts refuse.
absl::StatusOr<SourceCheckpoint> OpenCheckpoint(storage::ObjectStore& store, const std::string& uri);

// The layout of its linears: "compressed-tensors", "gptq", "gptq_v2", "awq", "spqr", or "dense" where none is
// quantized.
std::string FormatName(const QuantizationConfig& quantization);

}  // namespace calipress::checkpoint
