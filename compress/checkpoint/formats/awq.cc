// AutoAWQ's "gemm" layout: codes packed along the outputs in an order of its kernel's, transposed; zero points as they
// are. docs/formats/gptq-awq.md has it tensor by tensor.
#include "absl/strings/str_cat.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/formats/config_entry.h"
#include "compress/checkpoint/formats/linear_tensors.h"

namespace calipress::checkpoint {
namespace {

constexpr int kBits = 4;
constexpr int kPerWord = 8;
constexpr int kMiddle = 8;
// The output of a word's eight that each nibble holds, from the lowest.
constexpr int kOrder[kPerWord] = {0, 2, 4, 6, 1, 3, 5, 7};

// [out, columns] signed -> [columns, out / 8].
std::vector<int32_t> Pack(const int8_t* codes, int64_t out, int64_t columns) {
  const int64_t per_column = out / kPerWord;
  std::vector<int32_t> words(columns * per_column);
  for (int64_t c = 0; c < per_column; ++c) {
    const int8_t* rows = codes + c * kPerWord * columns;
    for (int64_t i = 0; i < columns; ++i) {
      uint32_t word = 0;
      for (int n = 0; n < kPerWord; ++n) {
        word |= (static_cast<uint32_t>(rows[kOrder[n] * columns + i] + kMiddle) & 0xfu) << (kBits * n);
      }
      words[i * per_column + c] = static_cast<int32_t>(word);
    }
  }
  return words;
}

// Words [begin, end) of every column, back.
void Unpack(const std::vector<int32_t>& words, int64_t out, int64_t columns, int64_t begin, int64_t end,
            int8_t* codes) {
  const int64_t per_column = out / kPerWord;
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t c = begin; c < end; ++c) {
      const auto word = static_cast<uint32_t>(words[i * per_column + c]);
      int8_t* rows = codes + c * kPerWord * columns + i;
      for (int n = 0; n < kPerWord; ++n) {
        rows[kOrder[n] * columns] = static_cast<int8_t>(static_cast<int>(word >> (kBits * n) & 0xfu) - kMiddle);
      }
    }
  }
}

class AwqFormat : public LinearFormat {
 public:
  std::string_view name() const override { return "awq"; }
  bool holds_f16() const override { return true; }

  std::vector<Misfit> SchemeMisfits(const QuantizationScheme& scheme) const override {
    std::vector<Misfit> misfits = NotIntegersInGroups(scheme, "awq");
    if (scheme.bits != kBits) {
      misfits.push_back(
          {"bits", absl::StrCat("awq holds 4 bits alone, not ", scheme.bits, "; choose compressed-tensors or 4 bits")});
    }
    if (scheme.type == NumberType::kInt && scheme.Normalized().strategy == Strategy::kChannel) {
      misfits.push_back({"group_size",
                         "awq holds groups of columns, not one scale per output channel; choose a group size, "
                         "or compressed-tensors"});
    }
    return misfits;
  }

  std::string ShapeMisfit(const QuantizationScheme&, int64_t out, int64_t) const override {
    if (out % kPerWord == 0) return {};
    return absl::StrCat("awq packs 8 outputs into a word, which ", out, " outputs do not fill");
  }

  std::string ModelMisfit(const std::vector<QuantizedModule>& modules, const std::vector<std::string>&) const override {
    return SeveralSchemes(modules, "awq");
  }

  std::vector<TensorPlan> Plan(std::string_view module, int64_t out, int64_t in, const QuantizationScheme& scheme,
                               Dtype) const override {
    const std::string name(module);
    const int64_t groups = scheme.Groups(in), words = PackedWords(out, kBits);
    return {{name + ".qweight", Dtype::kI32, {in, words}},
            {name + ".qzeros", Dtype::kI32, {groups, words}},
            {name + ".scales", Dtype::kF16, {groups, out}}};
  }

  absl::Status Encode(const CodesView& view, const ByteSink& sink) const override {
    const int64_t groups = view.Groups();
    const auto put = [&](const std::vector<int32_t>& words) {
      return sink(words.data(), static_cast<int64_t>(words.size() * sizeof(int32_t)));
    };
    CALIPRESS_RETURN_IF_ERROR(put(Pack(view.codes, view.out, view.in)));
    const std::vector<int8_t> middle(view.zero_points == nullptr ? view.out * groups : 0, 0);
    CALIPRESS_RETURN_IF_ERROR(
        put(Pack(view.zero_points == nullptr ? middle.data() : view.zero_points, view.out, groups)));
    const std::vector<char> scales = Transposed(view.scales, view.out, groups, DtypeBytes(view.dtype));
    return sink(scales.data(), static_cast<int64_t>(scales.size()));
  }

  absl::StatusOr<CodesLinear> Decode(std::string_view module, int64_t out, int64_t in, const QuantizationScheme& scheme,
                                     const TensorSource& source, const RowRunner& run) const override {
    CALIPRESS_RETURN_IF_ERROR(CheckGroups(module, out, in, scheme));
    const LinearTensors tensors(module, source);
    const std::string shape_misfit = scheme.bits == kBits ? ShapeMisfit(scheme, out, in) : "has codes of no such width";
    if (!shape_misfit.empty()) return tensors.Broken("qweight", "cannot be: " + shape_misfit);
    CodesLinear linear{scheme, out, in, {}, {}, {}, {}, {}};
    const int64_t groups = scheme.Groups(in), per_column = out / kPerWord;
    CALIPRESS_ASSIGN_OR_RETURN(const auto words, tensors.TakeWords("qweight", {in, per_column}));
    CALIPRESS_RETURN_IF_ERROR(tensors.TakeScales("scales", {groups, out}, &linear));
    linear.scales = Transposed(linear.scales.data(), groups, out, DtypeBytes(linear.dtype));
    linear.codes.resize(out * in);
    run(per_column, [&](int64_t begin, int64_t end) { Unpack(words, out, in, begin, end, linear.codes.data()); });
    CALIPRESS_ASSIGN_OR_RETURN(linear.zero_points, DecodeZeroPoints(module, out, in, scheme, source));
    return linear;
  }

  absl::StatusOr<std::vector<int8_t>> DecodeZeroPoints(std::string_view module, int64_t out, int64_t in,
                                                       const QuantizationScheme& scheme,
                                                       const TensorSource& source) const override {
    const LinearTensors tensors(module, source);
    const int64_t groups = scheme.Groups(in), per_column = out / kPerWord;
    CALIPRESS_ASSIGN_OR_RETURN(const auto words, tensors.TakeWords("qzeros", {groups, per_column}));
    std::vector<int8_t> zeros(out * groups);
    Unpack(words, out, groups, 0, per_column, zeros.data());
    if (!scheme.symmetric) return zeros;
    for (const int8_t zero : zeros) {
      if (zero == 0) continue;
      return tensors.Broken("qzeros",
                            absl::StrCat("has a zero point of ", zero + kMiddle, ", and a symmetric grid's is 8"));
    }
    return std::vector<int8_t>();
  }

  absl::StatusOr<std::string> Config(std::string_view source_config, const std::vector<QuantizedModule>& modules,
                                     const std::vector<std::string>& dense) const override {
    return AwqConfig(source_config, modules, dense);
  }
};

}  // namespace

const LinearFormat& Awq() {
  static const AwqFormat format;
  return format;
}

}  // namespace calipress::checkpoint
