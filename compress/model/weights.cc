#include "compress/model/weights.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/formats/linear_format.h"
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
                                                            : LoadQuantized(tensor, *scheme);
    CALIPRESS_RETURN_IF_ERROR(loaded.status());
    const at::Tensor converted = loaded->to(dtype_);
    if (!AllFinite(converted)) {
      const bool overflow = loaded->scalar_type() != dtype_ && AllFinite(*loaded);
      return PreconditionError(
          reason::kNonFiniteWeights,
          "tensor " + tensor.name +
              (overflow ? " has values beyond the range of the dtype that the model runs in; run it in a wider dtype "
                          "(outputs in the gptq and awq formats run in F16; compressed-tensors keeps the model's own)"
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

  absl::StatusOr<at::Tensor> LoadQuantized(const arch::TensorSpec& tensor, const QuantizationScheme& scheme) const {
    const auto run = [](int64_t rows, const std::function<void(int64_t, int64_t)>& work) {
      at::parallel_for(0, rows, 16, work);
    };
    CALIPRESS_ASSIGN_OR_RETURN(const checkpoint::CodesLinear linear,
                               quantization_.format->Decode(ModuleOf(tensor), tensor.shape.at(0), tensor.shape.at(1),
                                                            scheme, checkpoint::SourceOf(reader_), run));
    at::Tensor weight = at::empty(tensor.shape, ToScalarType(linear.dtype));
    const checkpoint::CodesView view = linear.View();
    void* data = weight.mutable_data_ptr();
    run(view.out, [&](int64_t begin, int64_t end) { checkpoint::DequantizeRows(view, begin, end, data); });
    return weight;
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

Dtype FromScalarType(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16:
      return Dtype::kBF16;
    case at::kHalf:
      return Dtype::kF16;
    case at::kDouble:
      return Dtype::kF64;
    default:
      return Dtype::kF32;
  }
}

std::unique_ptr<WeightSource> CheckpointWeights(const checkpoint::ModelReader& reader,
                                                checkpoint::QuantizationConfig quantization, at::ScalarType dtype,
                                                at::Device device) {
  return std::make_unique<CheckpointSource>(reader, std::move(quantization), dtype, device);
}

}  // namespace calipress::model
