// compressed-tensors' formats behind linear_format.h: pack-quantized, and those with a number of 8 bits per weight.
// packing.cc, plain_linear.cc and quantization_config.cc have the rest.
#include "compress/base/status_macros.h"
#include "compress/checkpoint/formats/linear_tensors.h"

namespace calipress::checkpoint {
namespace {

absl::Status EncodePlain(const CodesView& view, const ByteSink& sink) {
  const int64_t cells = view.scheme.ScaleRows(view.out) * view.Groups();
  CALIPRESS_RETURN_IF_ERROR(sink(view.codes, view.out * view.in));
  CALIPRESS_RETURN_IF_ERROR(sink(view.scales, cells * DtypeBytes(view.dtype)));
  if (!view.scheme.symmetric) CALIPRESS_RETURN_IF_ERROR(sink(view.zero_points, cells));
  if (view.scheme.activations != Activations::kStatic) return absl::OkStatus();
  return sink(&*view.input_scale, sizeof(float));
}

absl::StatusOr<CodesLinear> DecodePlain(std::string_view module, int64_t out, int64_t in,
                                        const QuantizationScheme& scheme, const TensorSource& source) {
  const LinearTensors tensors(module, source);
  const std::vector<int64_t> grid = PlainGridShape(scheme, out, in);
  CodesLinear linear{scheme, out, in, {}, {}, {}, {}, {}};
  const Dtype codes = scheme.type == NumberType::kFloat ? Dtype::kF8E4M3 : Dtype::kI8;
  CALIPRESS_ASSIGN_OR_RETURN(linear.codes, tensors.TakeBytes("weight", codes, {out, in}));
  CALIPRESS_RETURN_IF_ERROR(tensors.TakeScales("weight_scale", grid, &linear));
  if (!scheme.symmetric) {
    CALIPRESS_ASSIGN_OR_RETURN(linear.zero_points, tensors.TakeBytes("weight_zero_point", Dtype::kI8, grid));
  }
  if (scheme.activations == Activations::kStatic) {
    CALIPRESS_ASSIGN_OR_RETURN(linear.input_scale, tensors.TakeFloat("input_scale"));
  }
  return linear;
}

class CompressedTensorsFormat : public LinearFormat {
 public:
  std::string_view name() const override { return "compressed-tensors"; }
  bool holds_f16() const override { return false; }

  std::vector<Misfit> SchemeMisfits(const QuantizationScheme&) const override { return {}; }
  std::string ShapeMisfit(const QuantizationScheme&, int64_t, int64_t) const override { return {}; }
  std::string ModelMisfit(const std::vector<QuantizedModule>&, const std::vector<std::string>&) const override {
    return {};
  }

  std::vector<TensorPlan> Plan(std::string_view module, int64_t out, int64_t in, const QuantizationScheme& scheme,
                               Dtype scale_dtype) const override {
    return QuantizedLinearPlan(module, out, in, scheme, scale_dtype);
  }

  absl::Status Encode(const CodesView& view, const ByteSink& sink) const override {
    if (!view.scheme.Packed()) return EncodePlain(view, sink);
    const int bits = view.scheme.bits;
    const int64_t groups = view.Groups();
    std::vector<int32_t> words(view.out * PackedWords(view.in, bits));
    PackRows(view.codes, view.out, view.in, bits, words.data());
    CALIPRESS_RETURN_IF_ERROR(sink(words.data(), static_cast<int64_t>(words.size() * sizeof(int32_t))));
    CALIPRESS_RETURN_IF_ERROR(sink(view.scales, view.out * groups * DtypeBytes(view.dtype)));
    const int64_t shape[2] = {view.out, view.in};
    CALIPRESS_RETURN_IF_ERROR(sink(shape, sizeof shape));
    if (view.scheme.symmetric) return absl::OkStatus();
    words.resize(PackedWords(view.out, bits) * groups);
    PackColumns(view.zero_points, view.out, groups, bits, words.data());
    return sink(words.data(), static_cast<int64_t>(words.size() * sizeof(int32_t)));
  }

  absl::StatusOr<CodesLinear> Decode(std::string_view module, int64_t out, int64_t in, const QuantizationScheme& scheme,
                                     const TensorSource& source, const RowRunner& run) const override {
    CALIPRESS_RETURN_IF_ERROR(CheckGroups(module, out, in, scheme));
    if (!scheme.Packed()) return DecodePlain(module, out, in, scheme, source);
    const LinearTensors tensors(module, source);
    CodesLinear linear{scheme, out, in, {}, {}, {}, {}, {}};
    const int64_t groups = scheme.Groups(in), row_words = PackedWords(in, scheme.bits);
    CALIPRESS_ASSIGN_OR_RETURN(const auto shape, tensors.TakeIntegers("weight_shape", {2}));
    if (!shape)
      return tensors.Broken("weight_shape", "is missing from the checkpoint; config.json says that the model has it");
    if (*shape != std::vector<int64_t>{out, in}) {
      return tensors.Broken("weight_shape",
                            "says " + ShapeText(*shape) + "; by config.json the linear has " + ShapeText({out, in}));
    }
    CALIPRESS_ASSIGN_OR_RETURN(const auto words, tensors.TakeWords("weight_packed", {out, row_words}));
    CALIPRESS_RETURN_IF_ERROR(tensors.TakeScales("weight_scale", {out, groups}, &linear));
    linear.codes.resize(out * in);
    run(out, [&](int64_t begin, int64_t end) {
      UnpackRows(words.data() + begin * row_words, end - begin, in, scheme.bits, linear.codes.data() + begin * in);
    });
    CALIPRESS_ASSIGN_OR_RETURN(linear.zero_points, DecodeZeroPoints(module, out, in, scheme, source));
    return linear;
  }

  absl::StatusOr<std::vector<int8_t>> DecodeZeroPoints(std::string_view module, int64_t out, int64_t in,
                                                       const QuantizationScheme& scheme,
                                                       const TensorSource& source) const override {
    if (scheme.symmetric) return std::vector<int8_t>();
    if (!scheme.Packed()) {
      return LinearTensors(module, source).TakeBytes("weight_zero_point", Dtype::kI8, PlainGridShape(scheme, out, in));
    }
    const int64_t groups = scheme.Groups(in);
    CALIPRESS_ASSIGN_OR_RETURN(
        const auto words,
        LinearTensors(module, source).TakeWords("weight_zero_point", {PackedWords(out, scheme.bits), groups}));
    std::vector<int8_t> zero_points(out * groups);
    UnpackColumns(words.data(), out, groups, scheme.bits, zero_points.data());
    return zero_points;
  }

  absl::StatusOr<std::string> Config(std::string_view source_config, const std::vector<QuantizedModule>& modules,
                                     const std::vector<std::string>& dense) const override {
    return QuantizedConfig(source_config, modules, dense);
  }
};

}  // namespace

const LinearFormat& CompressedTensors() {
  static const CompressedTensorsFormat format;
  return format;
}

}  // namespace calipress::checkpoint
