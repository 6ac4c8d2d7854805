#include "compress/model/weights.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/model/finite_rows.h"

namespace calipress::model {
namespace {

using arch::Role;
using checkpoint::QuantizationScheme;
using checkpoint::TensorInfo;

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

absl::Status Corrupt(std::string_view tensor, std::string_view what) {
  return PreconditionError(reason::kSourceModelCorrupt, "tensor " + std::string(tensor) + " " + std::string(what));
}

bool AllFinite(const at::Tensor& tensor) {
  const int64_t size = tensor.numel();
  const auto check = [&](auto rows_are_finite) {
    return at::parallel_reduce(
        0, size, 1 << 20, true,
        [&](int64_t begin, int64_t end, bool so_far) { return so_far && rows_are_finite(begin, end); },
        [](bool a, bool b) { return a && b; });
  };
  if (tensor.scalar_type() == at::kFloat) {
    const auto* data = static_cast<const uint32_t*>(tensor.const_data_ptr());
    return check([&](int64_t begin, int64_t end) { return FiniteRow32(data + begin, end - begin); });
  }
  if (tensor.scalar_type() == at::kBFloat16 || tensor.scalar_type() == at::kHalf) {
    const auto* data = static_cast<const uint16_t*>(tensor.const_data_ptr());
    const uint16_t exponent = tensor.scalar_type() == at::kHalf ? 0x7c00 : 0x7f80;
    return check([&](int64_t begin, int64_t end) { return FiniteRow16(data + begin, end - begin, exponent); });
  }
  return at::isfinite(tensor).all().item<bool>();
}

class CheckpointSource : public WeightSource {
 public:
  CheckpointSource(const checkpoint::ModelReader& reader, checkpoint::QuantizationConfig quantization,
                   at::ScalarType dtype, at::Device device)
      : reader_(reader), quantization_(std::move(quantization)), dtype_(dtype), device_(device) {}

  absl::StatusOr<at::Tensor> Load(const arch::TensorSpec& tensor) const override {
    const checkpoint::SpqrScheme* spqr = quantization_.spqr ? SpqrSchemeOf(tensor) : nullptr;
    const QuantizationScheme* scheme = SchemeOf(tensor);
    absl::StatusOr<at::Tensor> loaded = spqr != nullptr     ? LoadSpqr(tensor, *spqr)
                                        : scheme == nullptr ? LoadPlain(tensor)
                                        : scheme->Packed()  ? LoadPacked(tensor, *scheme)
                                                            : LoadCodes(tensor, *scheme);
    CALIPRESS_RETURN_IF_ERROR(loaded.status());
    const at::Tensor converted = loaded->to(dtype_);
    if (!AllFinite(converted)) {
      const bool overflow = loaded->scalar_type() != dtype_ && AllFinite(*loaded);
      return PreconditionError(
          reason::kNonFiniteWeights,
          "tensor " + tensor.name +
              (overflow ? " has values beyond the range of the dtype that the model runs in; run it in a wider dtype"
                        : " has NaN or infinite values; the checkpoint is damaged or its training diverged"));
    }
    return converted.to(device_);
  }

  absl::StatusOr<InputQuantization> LoadInputs(const arch::TensorSpec& weight) const override {
    const QuantizationScheme* scheme = SchemeOf(weight);
    InputQuantization inputs;
    if (scheme == nullptr || scheme->activations == checkpoint::Activations::kNone) return inputs;
    inputs.mode = scheme->activations;
    inputs.type = scheme->type;
    inputs.blocks = scheme->strategy == checkpoint::Strategy::kBlock;
    if (inputs.mode == checkpoint::Activations::kDynamic) return inputs;
    CALIPRESS_ASSIGN_OR_RETURN(const TensorInfo* info, Find(std::string(ModuleOf(weight)) + ".input_scale", {1}));
    CALIPRESS_RETURN_IF_ERROR(CheckFloating(*info));
    CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor scale, Read(*info));
    if (!(scale.item<double>() > 0.0) || !AllFinite(scale)) return Corrupt(info->name, "is not a positive number");
    inputs.scale = scale.to(device_);
    return inputs;
  }

 private:
  // Empty where the tensor is not a linear's weight.
  static std::string_view ModuleOf(const arch::TensorSpec& tensor) {
    constexpr std::string_view kSuffix = ".weight";
    const std::string_view name = tensor.name;
    if (!(arch::IsLinear(tensor.role) || tensor.role == Role::kHead) || !name.ends_with(kSuffix)) return {};
    return name.substr(0, name.size() - kSuffix.size());
  }

  const QuantizationScheme* SchemeOf(const arch::TensorSpec& tensor) const {
    const std::string_view module = ModuleOf(tensor);
    return module.empty() ? nullptr : quantization_.SchemeOf(module);
  }

  const checkpoint::SpqrScheme* SpqrSchemeOf(const arch::TensorSpec& tensor) const {
    const std::string_view module = ModuleOf(tensor);
    return module.empty() ? nullptr : quantization_.SpqrSchemeOf(module);
  }

  absl::StatusOr<at::Tensor> LoadSpqr(const arch::TensorSpec& tensor, const checkpoint::SpqrScheme& scheme) const {
    const std::string module(ModuleOf(tensor));
    const auto read = [&](std::string_view name) -> absl::StatusOr<std::optional<checkpoint::SpqrTensorBytes>> {
      const TensorInfo* info = reader_.Find(module + "." + std::string(name));
      if (info == nullptr) return std::nullopt;
      checkpoint::SpqrTensorBytes bytes{info->dtype, info->shape, std::vector<char>(info->bytes)};
      CALIPRESS_RETURN_IF_ERROR(reader_.Read(*info, bytes.bytes.data()));
      return bytes;
    };
    CALIPRESS_ASSIGN_OR_RETURN(const checkpoint::SpqrLinear linear,
                               checkpoint::DecodeSpqr(module, tensor.shape.at(0), tensor.shape.at(1), scheme, read));
    at::Tensor weight = at::empty(tensor.shape, ToScalarType(linear.dtype));
    const checkpoint::SpqrView view = linear.View();
    void* data = weight.mutable_data_ptr();
    at::parallel_for(0, view.out, 16,
                     [&](int64_t begin, int64_t end) { checkpoint::DequantizeSpqrRows(view, begin, end, data); });
    return weight;
  }

  absl::StatusOr<const TensorInfo*> Find(const std::string& name, const std::vector<int64_t>& shape) const {
    const TensorInfo* info = reader_.Find(name);
    if (info == nullptr) {
      return Corrupt(name, "is missing from the checkpoint; config.json says that the model has it");
    }
    if (info->shape != shape) {
      return Corrupt(name, "has shape " + ShapeText(info->shape) + "; by config.json it has " + ShapeText(shape));
    }
    return info;
  }

  // In the file's dtype, on the CPU.
  absl::StatusOr<at::Tensor> Read(const TensorInfo& info) const {
    at::Tensor tensor = at::empty(info.shape, ToScalarType(info.dtype));
    CALIPRESS_RETURN_IF_ERROR(reader_.Read(info, tensor.mutable_data_ptr()));
    return tensor;
  }

  absl::StatusOr<at::Tensor> LoadPlain(const arch::TensorSpec& tensor) const {
    CALIPRESS_ASSIGN_OR_RETURN(const TensorInfo* info, Find(tensor.name, tensor.shape));
    CALIPRESS_RETURN_IF_ERROR(CheckFloating(*info));
    return Read(*info);
  }

  absl::Status CheckFloating(const TensorInfo& info) const {
    if (info.dtype == Dtype::kF8E4M3 || info.dtype == Dtype::kF8E5M2) {
      return PreconditionError(reason::kUnsupportedModel, "tensor " + info.name + " is " +
                                                              std::string(DtypeName(info.dtype)) +
                                                              "; calipress reads BF16, F16, F32 and F64 weights: "
                                                              "give the model in one of them");
    }
    if (IsFloating(info.dtype)) return absl::OkStatus();
    return Corrupt(info.name, "is " + std::string(DtypeName(info.dtype)) + "; a weight is BF16, F16, F32 or F64");
  }

  absl::StatusOr<const TensorInfo*> FindWords(const std::string& name, const std::vector<int64_t>& shape) const {
    CALIPRESS_ASSIGN_OR_RETURN(const TensorInfo* info, Find(name, shape));
    if (info->dtype == Dtype::kI32) return info;
    return Corrupt(name, "is " + std::string(DtypeName(info->dtype)) + "; packed codes are I32");
  }

  absl::Status CheckPackedShape(const std::string& module, const std::vector<int64_t>& shape) const {
    CALIPRESS_ASSIGN_OR_RETURN(const TensorInfo* info, Find(module + ".weight_shape", {2}));
    if (info->dtype != Dtype::kI64 && info->dtype != Dtype::kI32) {
      return Corrupt(info->name, "is " + std::string(DtypeName(info->dtype)) + "; it is I64");
    }
    CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor raw, Read(*info));
    const at::Tensor value = raw.to(at::kLong);
    const int64_t* data = value.const_data_ptr<int64_t>();
    const std::vector<int64_t> stored = {data[0], data[1]};
    if (stored == shape) return absl::OkStatus();
    return Corrupt(info->name, "says " + ShapeText(stored) + "; by config.json the linear has " + ShapeText(shape));
  }

  // (codes - zero points) * scales, in the scales' dtype.
  absl::StatusOr<at::Tensor> LoadPacked(const arch::TensorSpec& tensor, const QuantizationScheme& scheme) const {
    const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
    const int64_t out = tensor.shape.at(0);
    const int64_t in = tensor.shape.at(1);
    if (scheme.group_size == 0 || (scheme.group_size > 0 && in % scheme.group_size != 0)) {
      return Corrupt(tensor.name, "has " + std::to_string(in) + " columns, which groups of " +
                                      std::to_string(scheme.group_size) + " do not divide");
    }
    CALIPRESS_RETURN_IF_ERROR(CheckPackedShape(module, tensor.shape));
    const int64_t groups = scheme.Groups(in);
    const int64_t row_words = checkpoint::PackedWords(in, scheme.bits);
    CALIPRESS_ASSIGN_OR_RETURN(const TensorInfo* packed_info, FindWords(module + ".weight_packed", {out, row_words}));
    CALIPRESS_ASSIGN_OR_RETURN(const TensorInfo* scale_info, Find(module + ".weight_scale", {out, groups}));
    CALIPRESS_RETURN_IF_ERROR(CheckFloating(*scale_info));
    CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor packed, Read(*packed_info));
    CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor scale, Read(*scale_info));
    const at::ScalarType scale_dtype = scale.scalar_type();

    at::Tensor codes = at::empty({out, in}, at::kChar);
    const int32_t* words = packed.const_data_ptr<int32_t>();
    int8_t* code_data = codes.mutable_data_ptr<int8_t>();
    at::parallel_for(0, out, 16, [&](int64_t begin, int64_t end) {
      checkpoint::UnpackRows(words + begin * row_words, end - begin, in, scheme.bits, code_data + begin * in);
    });
    at::Tensor weight = codes.view({out, groups, in / groups}).to(scale_dtype);
    if (!scheme.symmetric) {
      CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor zero_points, ReadZeroPoints(module, out, groups, scheme.bits));
      weight.sub_(zero_points.to(scale_dtype).unsqueeze(2));
    }
    return weight.mul_(scale.unsqueeze(2)).view({out, in});
  }

  // Codes of 8 bits each: (codes - zero points) * scales, in the scales' dtype.
  absl::StatusOr<at::Tensor> LoadCodes(const arch::TensorSpec& tensor, const QuantizationScheme& scheme) const {
    const int64_t out = tensor.shape.at(0), in = tensor.shape.at(1);
    if (scheme.strategy == checkpoint::Strategy::kGroup && in % scheme.GroupWidth(in) != 0) {
      return Corrupt(tensor.name, "has " + std::to_string(in) + " columns, which groups of " +
                                      std::to_string(scheme.group_size) + " do not divide");
    }
    const std::string module(ModuleOf(tensor));
    std::optional<at::Tensor> codes, scales, zero_points;
    for (const auto& plan : checkpoint::QuantizedLinearPlan(module, out, in, scheme, Dtype::kF32)) {
      const bool zeros = plan.name.ends_with(".weight_zero_point"), scale = plan.name.ends_with(".weight_scale");
      if (plan.name.ends_with(".input_scale")) continue;
      CALIPRESS_ASSIGN_OR_RETURN(const TensorInfo* info, Find(plan.name, plan.shape));
      if (scale) {
        CALIPRESS_RETURN_IF_ERROR(CheckFloating(*info));
      } else if (info->dtype != plan.dtype) {
        return Corrupt(info->name, "is " + std::string(DtypeName(info->dtype)) + "; by config.json it is " +
                                       std::string(DtypeName(plan.dtype)));
      }
      CALIPRESS_ASSIGN_OR_RETURN((scale ? scales : zeros ? zero_points : codes), Read(*info));
    }
    // Over the matrix: rows and columns that share one.
    const auto spread = [&](const at::Tensor& grid) {
      return grid.view({scheme.ScaleRows(out), scheme.Groups(in)})
          .to(scales->scalar_type())
          .repeat_interleave(scheme.RowsPerScale(out), 0)
          .narrow(0, 0, out)
          .repeat_interleave(scheme.GroupWidth(in), 1)
          .narrow(1, 0, in);
    };
    at::Tensor weight = codes->to(scales->scalar_type());
    if (zero_points) weight.sub_(spread(*zero_points));
    return weight.mul_(spread(*scales));
  }

  absl::StatusOr<at::Tensor> ReadZeroPoints(const std::string& module, int64_t out, int64_t groups, int bits) const {
    const std::vector<int64_t> shape = {checkpoint::PackedWords(out, bits), groups};
    CALIPRESS_ASSIGN_OR_RETURN(const TensorInfo* info, FindWords(module + ".weight_zero_point", shape));
    CALIPRESS_ASSIGN_OR_RETURN(const at::Tensor packed, Read(*info));
    at::Tensor codes = at::empty({out, groups}, at::kChar);
    checkpoint::UnpackColumns(packed.const_data_ptr<int32_t>(), out, groups, bits, codes.mutable_data_ptr<int8_t>());
    return codes;
  }

  const checkpoint::ModelReader& reader_;
  const checkpoint::QuantizationConfig quantization_;
  const at::ScalarType dtype_;
  const at::Device device_;
};

}  // namespace

at::ScalarType ToScalarType(Dtype dtype) {
  switch (dtype) {
    case Dtype::kBF16:
      return at::kBFloat16;
    case Dtype::kF16:
      return at::kHalf;
    case Dtype::kF32:
      return at::kFloat;
    case Dtype::kF64:
      return at::kDouble;
    case Dtype::kI8:
      return at::kChar;
    case Dtype::kU8:
      return at::kByte;
    case Dtype::kI16:
      return at::kShort;
    case Dtype::kI32:
      return at::kInt;
    case Dtype::kI64:
      return at::kLong;
    case Dtype::kBool:
      return at::kBool;
    case Dtype::kF8E4M3:
      return at::kFloat8_e4m3fn;
    case Dtype::kF8E5M2:
      return at::kFloat8_e5m2;
  }
  return at::kFloat;
}

std::unique_ptr<WeightSource> CheckpointWeights(const checkpoint::ModelReader& reader,
                                                checkpoint::QuantizationConfig quantization, at::ScalarType dtype,
                                                at::Device device) {
  return std::make_unique<CheckpointSource>(reader, std::move(quantization), dtype, device);
}

}  // namespace calipress::model
