#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/base/cancellation.h"
#include "compress/storage/object_store.h"

namespace calipress::checkpoint {

struct Conversion {
  std::string from, to;            // "pack-quantized" is "compressed-tensors" here, as in a recipe's output.format
  int64_t bytes = 0;               // of tensors
  std::vector<std::string> files;  // of weights
  std::vector<std::string> warnings;
};

// Moves a finished checkpoint into another format: codes as they are, no tensor of the model requantized. `format` is
// compressed-tensors, gptq, awq or dense; of a checkpoint that the format cannot hold, UNSUPPORTED_COMBINATION says
// what does not fit. One linear is in memory at a time.
//
// Nothing is visible before all is there: files are made in <output>/_calipress/convert and moved, config.json last.
// OUTPUT_EXISTS where the output has weights or a config.json already; what a conversion that was killed has left there
// is swept first. Where it fails or is cancelled, it takes back what it did.
absl::StatusOr<Conversion> Convert(storage::ObjectStore& store, const std::string& source_uri,
                                   const std::string& output_uri, const std::string& format,
                                   const CancellationToken& cancellation);

}  // namespace calipress::checkpoint
