#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/checkpoint/convert/conversion_plan.h"

namespace calipress::checkpoint {

// Makes the tensors that linears become, one linear at a time. Both outlive it.
class LinearMover {
 public:
  LinearMover(const SourceCheckpoint& source, const ConversionPlan& plan) : source_(source), plan_(plan) {}

  // Appends the planned tensor of a linear that moves. The tensors of one linear come one after the other.
  absl::Status Append(const TensorPlan& tensor, SafetensorsWriter& writer);

 private:
  absl::Status AppendDense(const LinearMove& move, SafetensorsWriter& writer) const;
  absl::Status Encode(const LinearMove& move);

  const SourceCheckpoint& source_;
  const ConversionPlan& plan_;
  std::string module_;  // whose tensors are encoded
  std::map<std::string, std::vector<char>> encoded_;
};

}  // namespace calipress::checkpoint
