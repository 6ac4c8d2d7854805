#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/arch/arch.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/storage/object_store.h"

namespace calipress::api {

// What admission learns of a model, from config.json and safetensors headers alone.
struct SourceModel {
  arch::ArchSpec spec;
  // Of the architecture: a quantized linear counts with its unpacked size.
  int64_t parameters = 0;
  // Of the tensors that calipress reads, in the checkpoint's own form.
  int64_t bytes = 0;
  int64_t outer_bytes = 0;    // embedding, final norm, head
  int64_t largest_block = 0;  // bytes
  bool quantized = false;
};

// Reads a model's folder. SOURCE_MODEL_NOT_FOUND where there is no config.json or no weights; UNSUPPORTED_MODEL;
// SOURCE_MODEL_CORRUPT names tensors that are missing, have another shape than config.json says or no floating dtype.
absl::StatusOr<SourceModel> InspectModel(storage::ObjectStore& store, const std::string& uri);

// For jobs that tokenize text: tokenizer.json must be there and name no id beyond the embedding's rows.
absl::Status CheckTokenizer(storage::ObjectStore& store, const std::string& uri, const arch::ArchSpec& spec);

// For self_generated sources, named by their fields: the model must name the token that its texts begin with.
absl::Status CheckTextBegins(storage::ObjectStore& store, const std::string& uri, const arch::ArchSpec& spec,
                             const std::vector<std::string>& sources);

}  // namespace calipress::api
