#include "compress/checkpoint/linear_weight.h"

#include <optional>
#include <utility>
#include <vector>

#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/checkpoint/spqr_layout.h"

namespace calipress::checkpoint {

absl::StatusOr<LinearWeight> LinearWeight::Open(const ModelReader& reader, const QuantizationConfig& quantization,
                                                const arch::LinearSpec& linear) {
  if (const SpqrScheme* spqr = quantization.SpqrSchemeOf(linear.module)) {
    const TensorSource source = SourceOf(reader);
    const auto read = [&](std::string_view name) -> absl::StatusOr<std::optional<SpqrTensorBytes>> {
      CALIPRESS_ASSIGN_OR_RETURN(auto tensor, source(linear.module + "." + std::string(name)));
      if (!tensor) return std::nullopt;
      return SpqrTensorBytes{tensor->dtype, std::move(tensor->shape), std::move(tensor->bytes)};
    };
    CALIPRESS_ASSIGN_OR_RETURN(SpqrLinear decoded, DecodeSpqr(linear.module, linear.out, linear.in, *spqr, read));
    auto owned = std::make_shared<const SpqrLinear>(std::move(decoded));
    return LinearWeight(owned->dtype, [owned](int64_t begin, int64_t end, void* rows) {
      const int64_t row_bytes = owned->in * DtypeBytes(owned->dtype);
      DequantizeSpqrRows(owned->View(), begin, end, static_cast<char*>(rows) - begin * row_bytes);
      return absl::OkStatus();
    });
  }
  if (const QuantizationScheme* scheme = quantization.SchemeOf(linear.module)) {
    CALIPRESS_ASSIGN_OR_RETURN(CodesLinear decoded, quantization.format->Decode(linear.module, linear.out, linear.in,
                                                                                *scheme, SourceOf(reader)));
    auto owned = std::make_shared<const CodesLinear>(std::move(decoded));
    return LinearWeight(owned->dtype, [owned](int64_t begin, int64_t end, void* rows) {
      const int64_t row_bytes = owned->in * DtypeBytes(owned->dtype);
      DequantizeRows(owned->View(), begin, end, static_cast<char*>(rows) - begin * row_bytes);
      return absl::OkStatus();
    });
  }
  const std::string name = linear.module + ".weight";
  const TensorInfo* info = reader.Find(name);
  if (info == nullptr) {
    return Corrupt("tensor " + name + " is missing from the checkpoint; config.json says that the model has it");
  }
  if (info->shape != std::vector<int64_t>{linear.out, linear.in} || !IsFloating(info->dtype)) {
    return Corrupt("tensor " + name + " is not the floating [" + std::to_string(linear.out) + ", " +
                   std::to_string(linear.in) + "] of config.json");
  }
  return LinearWeight(info->dtype, [&reader, info](int64_t begin, int64_t end, void* rows) {
    const int64_t row_bytes = info->bytes / info->shape[0];
    return reader.ReadPart(*info, begin * row_bytes, (end - begin) * row_bytes, rows);
  });
}

bool IsWide(Dtype dtype) { return IsFloating(dtype) && DtypeBytes(dtype) > 1; }

std::vector<TensorPlan> StoredTensors(const ModelReader& reader, const QuantizationConfig& quantization,
                                      const arch::LinearSpec& linear, Dtype dtype) {
  std::vector<TensorPlan> plan = {{linear.module + ".weight", dtype, {linear.out, linear.in}}};
  if (const SpqrScheme* spqr = quantization.SpqrSchemeOf(linear.module)) {
    const TensorInfo* values = reader.Find(linear.module + ".outlier_values");
    const int64_t outliers = values == nullptr || values->shape.size() != 1 ? 0 : values->shape[0];
    plan = SpqrLinearPlan(linear.module, linear.out, linear.in, *spqr, dtype, outliers);
  } else if (const QuantizationScheme* scheme = quantization.SchemeOf(linear.module)) {
    plan = quantization.format->Plan(linear.module, linear.out, linear.in, *scheme, dtype);
  }
  // Scales and dense weights may be in another floating dtype than the model's.
  for (TensorPlan& tensor : plan) {
    const TensorInfo* info = reader.Find(tensor.name);
    if (info != nullptr && IsWide(tensor.dtype)) tensor.dtype = info->dtype;
  }
  return plan;
}

}  // namespace calipress::checkpoint
