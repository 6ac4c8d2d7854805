// GPTQ's layout (AutoGPTQ, GPTQModel): codes packed along the inputs, zero points along the outputs, both transposed.
// docs/formats/gptq-awq.md has it tensor by tensor.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/formats/config_entry.h"
#include "compress/checkpoint/formats/linear_tensors.h"

namespace calipress::checkpoint {
namespace {

// One in every field of a word: version 1 stores zero points less one. Whole words are added, so that a zero point of 0
// borrows from its neighbour just as the writers of such files let it.
uint32_t Ones(int bits) { return 0xffffffffu / ((1u << bits) - 1); }

bool DividesWords(int bits) { return bits == 2 || bits == 4 || bits == 8; }

class GptqFormat : public LinearFormat {
 public:
  explicit GptqFormat(bool first_version) : first_version_(first_version) {}

  std::string_view name() const override { return first_version_ ? "gptq" : "gptq_v2"; }
  bool holds_f16() const override { return true; }

  std::vector<Misfit> SchemeMisfits(const QuantizationScheme& scheme) const override {
    std::vector<Misfit> misfits = NotIntegersInGroups(scheme, "gptq");
    if (scheme.bits != 4 && scheme.bits != 8) {
      misfits.push_back({"bits", absl::StrCat("gptq holds 4 and 8 bits (programs that load it refuse ", "others), not ",
                                              scheme.bits, "; choose compressed-tensors or other bits")});
    }
    if (!scheme.symmetric) {
      misfits.push_back({"symmetric",
                         "gptq holds symmetric grids alone (programs that load it refuse or misread "
                         "zero points); choose a symmetric grid, or compressed-tensors or awq"});
    }
    return misfits;
  }

  std::string ShapeMisfit(const QuantizationScheme& scheme, int64_t out, int64_t in) const override {
    if (!DividesWords(scheme.bits)) return {};  // SchemeMisfits tells
    const int64_t whole = 32 / scheme.bits;
    if (out % whole == 0 && in % whole == 0) return {};
    return absl::StrCat("gptq packs ", whole, " inputs and ", whole, " outputs into a word, which ", in, " inputs and ",
                        out, " outputs do not fill");
  }

  std::string ModelMisfit(const std::vector<QuantizedModule>& modules,
                          const std::vector<std::string>& dense) const override {
    if (std::string several = SeveralSchemes(modules, "gptq"); !several.empty()) return several;
    return DifferingBlocks(modules, dense);
  }

  std::vector<TensorPlan> Plan(std::string_view module, int64_t out, int64_t in, const QuantizationScheme& scheme,
                               Dtype) const override {
    const std::string name(module);
    const int64_t groups = scheme.Groups(in);
    return {{name + ".qweight", Dtype::kI32, {PackedWords(in, scheme.bits), out}},
            {name + ".qzeros", Dtype::kI32, {groups, PackedWords(out, scheme.bits)}},
            {name + ".scales", Dtype::kF16, {groups, out}},
            {name + ".g_idx", Dtype::kI32, {in}}};
  }

  absl::Status Encode(const CodesView& view, const ByteSink& sink) const override {
    const int bits = view.scheme.bits;
    const int64_t groups = view.Groups(), in_words = PackedWords(view.in, bits),
                  out_words = PackedWords(view.out, bits);
    const auto put = [&](const std::vector<char>& bytes) {
      return sink(bytes.data(), static_cast<int64_t>(bytes.size()));
    };
    std::vector<int32_t> words(view.out * in_words);
    PackRows(view.codes, view.out, view.in, bits, words.data());
    CALIPRESS_RETURN_IF_ERROR(put(Transposed(words.data(), view.out, in_words, sizeof(int32_t))));
    std::vector<char> zeros(groups * view.out, 0);
    if (view.zero_points != nullptr) zeros = Transposed(view.zero_points, view.out, groups, 1);
    words.resize(groups * out_words);
    PackRows(reinterpret_cast<const int8_t*>(zeros.data()), groups, view.out, bits, words.data());
    for (int32_t& word : words) word = static_cast<int32_t>(static_cast<uint32_t>(word) - Shift(bits));
    CALIPRESS_RETURN_IF_ERROR(sink(words.data(), static_cast<int64_t>(words.size() * sizeof(int32_t))));
    CALIPRESS_RETURN_IF_ERROR(put(Transposed(view.scales, view.out, groups, DtypeBytes(view.dtype))));
    std::vector<int32_t> group_of(view.in);
    for (int64_t i = 0; i < view.in; ++i) group_of[i] = static_cast<int32_t>(i / (view.in / groups));
    return sink(group_of.data(), view.in * static_cast<int64_t>(sizeof(int32_t)));
  }

  absl::StatusOr<CodesLinear> Decode(std::string_view module, int64_t out, int64_t in, const QuantizationScheme& scheme,
                                     const TensorSource& source, const RowRunner& run) const override {
    CALIPRESS_RETURN_IF_ERROR(CheckGroups(module, out, in, scheme));
    const LinearTensors tensors(module, source);
    const int bits = scheme.bits;
    const std::string shape_misfit = DividesWords(bits) ? ShapeMisfit(scheme, out, in) : "has codes of no such width";
    if (!shape_misfit.empty()) return tensors.Broken("qweight", "cannot be: " + shape_misfit);
    CodesLinear linear{scheme, out, in, {}, {}, {}, {}, {}};
    const int64_t groups = scheme.Groups(in), in_words = PackedWords(in, bits);
    CALIPRESS_ASSIGN_OR_RETURN(const auto group_of, tensors.TakeIntegers("g_idx", {in}));
    for (int64_t i = 0; group_of && i < in; ++i) {
      if ((*group_of)[i] != i / (in / groups)) {
        return tensors.Broken("g_idx", "puts columns into groups out of their order; calipress reads consecutive ones");
      }
    }
    CALIPRESS_ASSIGN_OR_RETURN(const auto words, tensors.TakeWords("qweight", {in_words, out}));
    CALIPRESS_RETURN_IF_ERROR(tensors.TakeScales("scales", {groups, out}, &linear));
    linear.scales = Transposed(linear.scales.data(), groups, out, DtypeBytes(linear.dtype));
    linear.codes.resize(out * in);
    run(out, [&](int64_t begin, int64_t end) {
      // A few outputs at a time: their words lie side by side.
      constexpr int64_t kTile = 16;
      std::vector<int32_t> rows(kTile * in_words);
      for (int64_t first = begin; first < end; first += kTile) {
        const int64_t count = std::min(kTile, end - first);
        for (int64_t k = 0; k < in_words; ++k) {
          for (int64_t r = 0; r < count; ++r) rows[r * in_words + k] = words[k * out + first + r];
        }
        UnpackRows(rows.data(), count, in, bits, linear.codes.data() + first * in);
      }
    });
    CALIPRESS_ASSIGN_OR_RETURN(linear.zero_points, DecodeZeroPoints(module, out, in, scheme, source));
    return linear;
  }

  absl::StatusOr<std::vector<int8_t>> DecodeZeroPoints(std::string_view module, int64_t out, int64_t in,
                                                       const QuantizationScheme& scheme,
                                                       const TensorSource& source) const override {
    const LinearTensors tensors(module, source);
    const int bits = scheme.bits, middle = 1 << (bits - 1);
    const int64_t groups = scheme.Groups(in);
    CALIPRESS_ASSIGN_OR_RETURN(auto words, tensors.TakeWords("qzeros", {groups, PackedWords(out, bits)}));
    for (int32_t& word : words) word = static_cast<int32_t>(static_cast<uint32_t>(word) + Shift(bits));
    std::vector<int8_t> zeros(groups * out);
    UnpackRows(words.data(), groups, out, bits, zeros.data());
    if (scheme.symmetric) {
      for (const int8_t zero : zeros) {
        if (zero == 0) continue;
        return tensors.Broken(
            "qzeros", absl::StrCat("has a zero point of ", zero + middle, ", and a symmetric grid's is ", middle,
                                   "; checkpoint_format in config.json may be wrong: \"gptq\" stores zero points "
                                   "less one, \"gptq_v2\" as they are"));
      }
      return std::vector<int8_t>();
    }
    const std::vector<char> turned = Transposed(zeros.data(), groups, out, 1);
    return std::vector<int8_t>(turned.begin(), turned.end());
  }

  absl::StatusOr<std::string> Config(std::string_view source_config, const std::vector<QuantizedModule>& modules,
                                     const std::vector<std::string>& dense) const override {
    return GptqConfig(source_config, modules, dense);
  }
  std::string_view repeated_config() const override { return "quantize_config.json"; }

 private:
  uint32_t Shift(int bits) const { return first_version_ ? Ones(bits) : 0; }

  const bool first_version_;
};

}  // namespace

const LinearFormat& Gptq() {
  static const GptqFormat format(/*first_version=*/true);
  return format;
}

const LinearFormat& GptqV2() {
  static const GptqFormat format(/*first_version=*/false);
  return format;
}

}  // namespace calipress::checkpoint
