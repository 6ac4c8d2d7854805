#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "compress/arch/arch.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/safetensors.h"

namespace calipress::checkpoint {

// One linear's weight of a checkpoint in any layout, as loaders make it: row-major [out, in], without torch. Holds the
// codes of one linear, or nothing where it is dense.
class LinearWeight {
 public:
  // SOURCE_MODEL_CORRUPT names the tensor that is missing or not as config.json says. `reader` outlives the weight.
  static absl::StatusOr<LinearWeight> Open(const ModelReader& reader, const QuantizationConfig& quantization,
                                           const arch::LinearSpec& linear);

  Dtype dtype() const { return dtype_; }
  // Rows [begin, end), to `rows`.
  absl::Status ReadRows(int64_t begin, int64_t end, void* rows) const { return read_(begin, end, rows); }

 private:
  using Read = std::function<absl::Status(int64_t begin, int64_t end, void* rows)>;
  LinearWeight(Dtype dtype, Read read) : dtype_(dtype), read_(std::move(read)) {}

  Dtype dtype_;
  Read read_;
};

// True for what weights and scales are computed in: BF16, F16, F32, F64. Floats of 8 bits are codes.
bool IsWide(Dtype dtype);

// The tensors that hold a linear, whatever its layout, as config.json and the headers have them. Of SpQR's outliers the
// count is what the file says.
std::vector<TensorPlan> StoredTensors(const ModelReader& reader, const QuantizationConfig& quantization,
                                      const arch::LinearSpec& linear, Dtype dtype);

}  // namespace calipress::checkpoint
