#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/arch/arch.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/checkpoint/shard_plan.h"
#include "compress/checkpoint/source_checkpoint.h"

namespace calipress::checkpoint {

// One linear on its way: from the source's tensors to those of the target.
struct LinearMove {
  arch::LinearSpec linear;
  QuantizationScheme scheme;  // in the target
  bool drops_zeros = false;   // all zero points are at the middle, and the target has none
};

// What the converted checkpoint will be, known before anything of it is written.
struct ConversionPlan {
  const LinearFormat* target = nullptr;          // null: dense
  std::map<std::string, LinearMove> moves;       // by module; the linears that change
  std::map<std::string, std::string> module_of;  // of the tensors that they become
  std::vector<PlannedShard> shards;
  std::string config;
  bool drops_activations = false;  // inputs are quantized in the source, and the target says nothing of inputs
};

// UNSUPPORTED_COMBINATION with every reason where the target cannot hold the source. Reads zero points, no codes.
absl::StatusOr<ConversionPlan> PlanConversion(const SourceCheckpoint& source, const std::string& format);

}  // namespace calipress::checkpoint
