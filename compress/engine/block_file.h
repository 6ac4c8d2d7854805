#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/engine/context.h"
#include "compress/method/method.h"

namespace calipress::engine {

// "block-00003.safetensors", in an attempt's staging folder.
std::string BlockFileName(int64_t block);

// What one block became: the result of each compressed linear by module, in the order they were solved.
struct CompressedBlock {
  int64_t index = 0;
  std::vector<std::pair<std::string, method::LinearResult>> linears;
  // Other tensors that a transform changed (norms, biases, dense weights), by name, in the source's dtype.
  std::map<std::string, at::Tensor> changed;
  // Square sums of the inputs 0 to 3, fp32 [in]; only where the recipe asks for an imatrix.
  std::array<at::Tensor, 4> square_sums;
};

// The tensors of a solved block as the finished checkpoint has them, in its order: packed where a step quantizes the
// linear, the rest as in the source; then the square sums of an imatrix. The same for every attempt and worker count.
std::vector<checkpoint::TensorPlan> BlockFilePlan(const OpenModel& model, const v1::Recipe& recipe,
                                                  const CompressedBlock& block);

// Writes the block's file; `uri` is complete and visible when it returns. Tensors that no step touched are copied from
// the source as they are.
absl::StatusOr<worker::v1::FinishedBlock> WriteBlockFile(storage::ObjectStore& store, const OpenModel& model,
                                                         const v1::Recipe& recipe, const CompressedBlock& block,
                                                         const std::string& uri);

// The quantized linears of the finished checkpoint, as its config.json will say.
checkpoint::QuantizationConfig ResultQuantization(const arch::ArchSpec& spec, const v1::Recipe& recipe);

// A finished block's weights, read from its file: the same bits that the solver left.
class StagedBlock {
 public:
  static absl::StatusOr<StagedBlock> Open(storage::ObjectStore& store, const OpenModel& model, const v1::Recipe& recipe,
                                          const std::string& uri, at::Device device);
  const model::WeightSource& weights() const { return *weights_; }

 private:
  std::unique_ptr<checkpoint::ModelReader> reader_;
  std::unique_ptr<model::WeightSource> weights_;
};

}  // namespace calipress::engine
