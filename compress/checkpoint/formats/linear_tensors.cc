#include "compress/checkpoint/formats/linear_tensors.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"

namespace calipress::checkpoint {

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

absl::Status LinearTensors::Broken(const std::string& name, const std::string& what) const {
  return Corrupt("tensor " + module_ + "." + name + " " + what);
}

absl::StatusOr<StoredTensor> LinearTensors::Take(const std::string& name, const std::vector<int64_t>& shape) const {
  CALIPRESS_ASSIGN_OR_RETURN(std::optional<StoredTensor> tensor, source_(module_ + "." + name));
  if (!tensor) return Broken(name, "is missing from the checkpoint; config.json says that the model has it");
  if (tensor->shape != shape) {
    return Broken(name, "has shape " + ShapeText(tensor->shape) + "; by config.json it has " + ShapeText(shape));
  }
  int64_t bytes = DtypeBytes(tensor->dtype);
  for (const int64_t size : shape) bytes *= size;
  if (static_cast<int64_t>(tensor->bytes.size()) != bytes) return Broken(name, "is cut short");
  return *std::move(tensor);
}

absl::StatusOr<std::vector<int32_t>> LinearTensors::TakeWords(const std::string& name,
                                                              const std::vector<int64_t>& shape) const {
  CALIPRESS_ASSIGN_OR_RETURN(const StoredTensor tensor, Take(name, shape));
  if (tensor.dtype != Dtype::kI32) {
    return Broken(name, "is " + std::string(DtypeName(tensor.dtype)) + "; packed codes are I32");
  }
  std::vector<int32_t> words(tensor.bytes.size() / sizeof(int32_t));
  if (!words.empty()) std::memcpy(words.data(), tensor.bytes.data(), tensor.bytes.size());
  return words;
}

absl::StatusOr<std::vector<int8_t>> LinearTensors::TakeBytes(const std::string& name, Dtype dtype,
                                                             const std::vector<int64_t>& shape) const {
  CALIPRESS_ASSIGN_OR_RETURN(const StoredTensor tensor, Take(name, shape));
  if (tensor.dtype != dtype) {
    return Broken(
        name, "is " + std::string(DtypeName(tensor.dtype)) + "; by config.json it is " + std::string(DtypeName(dtype)));
  }
  return std::vector<int8_t>(tensor.bytes.begin(), tensor.bytes.end());
}

absl::StatusOr<float> LinearTensors::TakeFloat(const std::string& name) const {
  CALIPRESS_ASSIGN_OR_RETURN(const StoredTensor tensor, Take(name, {1}));
  if (tensor.dtype != Dtype::kF32) return Broken(name, "is " + std::string(DtypeName(tensor.dtype)) + "; it is F32");
  float value;
  std::memcpy(&value, tensor.bytes.data(), sizeof value);
  return value;
}

absl::Status LinearTensors::TakeScales(const std::string& name, const std::vector<int64_t>& shape,
                                       CodesLinear* linear) const {
  CALIPRESS_ASSIGN_OR_RETURN(StoredTensor tensor, Take(name, shape));
  if (tensor.dtype != Dtype::kBF16 && tensor.dtype != Dtype::kF16 && tensor.dtype != Dtype::kF32) {
    return Broken(name, "is " + std::string(DtypeName(tensor.dtype)) + "; scales are BF16, F16 or F32");
  }
  linear->dtype = tensor.dtype;
  linear->scales = std::move(tensor.bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::vector<int64_t>>> LinearTensors::TakeIntegers(
    const std::string& name, const std::vector<int64_t>& shape) const {
  CALIPRESS_ASSIGN_OR_RETURN(const auto there, source_(module_ + "." + name));
  if (!there) return std::nullopt;
  CALIPRESS_ASSIGN_OR_RETURN(const StoredTensor tensor, Take(name, shape));
  std::vector<int64_t> values;
  if (tensor.dtype == Dtype::kI64) {
    values.resize(tensor.bytes.size() / sizeof(int64_t));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  } else if (tensor.dtype == Dtype::kI32) {
    std::vector<int32_t> narrow(tensor.bytes.size() / sizeof(int32_t));
    std::memcpy(narrow.data(), tensor.bytes.data(), tensor.bytes.size());
    values.assign(narrow.begin(), narrow.end());
  } else {
    return Broken(name, "is " + std::string(DtypeName(tensor.dtype)) + "; it is I32 or I64");
  }
  return values;
}

absl::Status CheckGroups(std::string_view module, int64_t out, int64_t in, const QuantizationScheme& scheme) {
  const std::string weight = "tensor " + std::string(module) + ".weight ";
  if (out < 1 || in < 1 || out > std::numeric_limits<int32_t>::max() || in > std::numeric_limits<int32_t>::max()) {
    return Corrupt(weight + "has shape " + ShapeText({out, in}) + ", which no linear has");
  }
  if (scheme.group_size == 0 || (scheme.group_size > 0 && in % scheme.group_size != 0)) {
    return Corrupt(weight + "has " + std::to_string(in) + " columns, which groups of " +
                   std::to_string(scheme.group_size) + " do not divide");
  }
  return absl::OkStatus();
}

std::vector<char> Transposed(const void* data, int64_t rows, int64_t columns, int64_t width) {
  constexpr int64_t kTile = 32;
  std::vector<char> turned(rows * columns * width);
  const char* from = static_cast<const char*>(data);
  for (int64_t row = 0; row < rows; row += kTile) {
    for (int64_t column = 0; column < columns; column += kTile) {
      for (int64_t r = row; r < std::min(rows, row + kTile); ++r) {
        for (int64_t c = column; c < std::min(columns, column + kTile); ++c) {
          std::memcpy(turned.data() + (c * rows + r) * width, from + (r * columns + c) * width, width);
        }
      }
    }
  }
  return turned;
}

}  // namespace calipress::checkpoint
