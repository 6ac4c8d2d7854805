#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compress/checkpoint/formats/linear_format.h"

namespace calipress::checkpoint {

// The tensors of one linear as a file has them, each checked as it is taken: names, dtypes, shapes.
class LinearTensors {
 public:
  LinearTensors(std::string_view module, const TensorSource& source) : module_(module), source_(source) {}

  // `name` is what follows the module's path.
  absl::StatusOr<std::vector<int32_t>> TakeWords(const std::string& name, const std::vector<int64_t>& shape) const;
  // BF16, F16 or F32; puts the dtype and the bytes into `linear`.
  absl::Status TakeScales(const std::string& name, const std::vector<int64_t>& shape, CodesLinear* linear) const;
  // Numbers of 8 bits each.
  absl::StatusOr<std::vector<int8_t>> TakeBytes(const std::string& name, Dtype dtype,
                                                const std::vector<int64_t>& shape) const;
  // One F32.
  absl::StatusOr<float> TakeFloat(const std::string& name) const;
  // Nothing where there is no such tensor. I32 and I64 alike.
  absl::StatusOr<std::optional<std::vector<int64_t>>> TakeIntegers(const std::string& name,
                                                                   const std::vector<int64_t>& shape) const;
  absl::Status Broken(const std::string& name, const std::string& what) const;

 private:
  absl::StatusOr<StoredTensor> Take(const std::string& name, const std::vector<int64_t>& shape) const;

  const std::string module_;
  const TensorSource& source_;
};

// SOURCE_MODEL_CORRUPT where the groups of the scheme do not divide the columns, or sizes are out of range.
absl::Status CheckGroups(std::string_view module, int64_t out, int64_t in, const QuantizationScheme& scheme);

// [2, 3]
std::string ShapeText(const std::vector<int64_t>& shape);

// [rows, columns] of `width` bytes each -> [columns, rows].
std::vector<char> Transposed(const void* data, int64_t rows, int64_t columns, int64_t width);

}  // namespace calipress::checkpoint
