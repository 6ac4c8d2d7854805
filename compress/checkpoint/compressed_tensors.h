#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/checkpoint/spqr_layout.h"

namespace calipress::checkpoint {

class LinearFormat;
const LinearFormat& CompressedTensors();

// What shares a scale.
enum class Strategy { kGroup, kChannel, kTensor, kBlock };
// Numbers that codes stand for; kFloat is F8_E4M3 ("fn": largest 448, no infinity).
enum class NumberType { kInt, kFloat };
// How the linear's inputs are quantized when the model runs: in the numbers of its weights, per token (strategy kBlock:
// per token and kBlockSize columns), or with one scale that the checkpoint holds.
enum class Activations { kNone, kDynamic, kStatic };

inline constexpr int64_t kBlockSize = 128;  // rows and columns of a block
inline constexpr float kLargestE4m3 = 448.0f;

// How a linear is quantized.
struct QuantizationScheme {
  int bits = 4;
  int64_t group_size = 128;  // -1: not in groups
  bool symmetric = true;
  NumberType type = NumberType::kInt;
  Strategy strategy = Strategy::kGroup;  // kGroup with group_size -1 is kChannel; see Normalized
  Activations activations = Activations::kNone;

  bool operator==(const QuantizationScheme&) const = default;
  // The same scheme with one spelling: kGroup <=> group_size > 0.
  QuantizationScheme Normalized() const {
    QuantizationScheme scheme = *this;
    if (scheme.strategy == Strategy::kGroup && scheme.group_size < 0) scheme.strategy = Strategy::kChannel;
    if (scheme.strategy != Strategy::kGroup) scheme.group_size = -1;
    return scheme;
  }
  // Columns of the scale tensor for a linear with `in` inputs.
  int64_t Groups(int64_t in) const {
    switch (strategy) {
      case Strategy::kGroup:
        return group_size < 0 ? 1 : in / group_size;
      case Strategy::kBlock:
        return (in + kBlockSize - 1) / kBlockSize;
      default:
        return 1;
    }
  }
  // Columns that share a scale; the last group of blocks may have fewer.
  int64_t GroupWidth(int64_t in) const {
    if (strategy == Strategy::kBlock) return kBlockSize;
    return strategy == Strategy::kGroup && group_size > 0 ? group_size : in;
  }
  // Rows that share a scale; the last rows of blocks may be fewer.
  int64_t RowsPerScale(int64_t out) const {
    if (strategy == Strategy::kBlock) return kBlockSize;
    return strategy == Strategy::kTensor ? out : 1;
  }
  // Rows of the scale tensor for a linear with `out` outputs.
  int64_t ScaleRows(int64_t out) const {
    switch (strategy) {
      case Strategy::kTensor:
        return 1;
      case Strategy::kBlock:
        return (out + kBlockSize - 1) / kBlockSize;
      default:
        return out;
    }
  }
  // Codes are packed into words; otherwise each is a number of 8 bits of its own.
  bool Packed() const { return type == NumberType::kInt && activations == Activations::kNone; }
};

// The format's name in config.json: pack-quantized for integer weights alone, int-quantized with quantized activations,
// float-quantized and naive-quantized likewise of floats.
std::string_view FormatOf(const QuantizationScheme& scheme);

// Packs signed codes of b bits, [rows, columns] row-major in [-2^(b-1), 2^(b-1)-1], into little-endian words of 32 bits
// along the columns: element i of a row is at bits i*b.. of the row's bit stream, as code + 2^(b-1). `words` has
// rows * PackedWords(columns, bits) entries.
int64_t PackedWords(int64_t columns, int bits);
void PackRows(const int8_t* codes, int64_t rows, int64_t columns, int bits, int32_t* words);
void UnpackRows(const int32_t* words, int64_t rows, int64_t columns, int bits, int8_t* codes);

// The same along the rows, for zero points [rows, columns] -> [PackedWords(rows, bits), columns].
void PackColumns(const int8_t* codes, int64_t rows, int64_t columns, int bits, int32_t* words);
void UnpackColumns(const int32_t* words, int64_t rows, int64_t columns, int bits, int8_t* codes);

// The tensors that replace `<module>.weight` [out, in] in a pack-quantized checkpoint, in the order they are written:
// weight_packed, weight_scale (`scale_dtype`), weight_shape, and weight_zero_point where asymmetric.
std::vector<TensorPlan> PackedLinearPlan(std::string_view module, int64_t out, int64_t in,
                                         const QuantizationScheme& scheme, Dtype scale_dtype);

// The same for any scheme. Where codes are not packed: weight (I8 or F8_E4M3), weight_scale ([1] where the matrix
// shares one), weight_zero_point (I8) where asymmetric, input_scale (F32 [1]) where activations are static.
std::vector<TensorPlan> QuantizedLinearPlan(std::string_view module, int64_t out, int64_t in,
                                            const QuantizationScheme& scheme, Dtype scale_dtype);

// The shape of scales and zero points of codes that are not packed.
std::vector<int64_t> PlainGridShape(const QuantizationScheme& scheme, int64_t out, int64_t in);

// A linear's path with its scheme.
struct QuantizedModule {
  std::string module;
  QuantizationScheme scheme;
};

// config.json of the result: the source's config with "quantization_config" (status "compressed"; the format of all
// groups, or "mixed-precision" where they have several).
// `modules` are all quantized linears, `dense` the linears left dense (they go to "ignore"). One config group per
// scheme; one group alone targets "Linear", several target their modules by exact path.
absl::StatusOr<std::string> QuantizedConfig(std::string_view source_config, const std::vector<QuantizedModule>& modules,
                                            const std::vector<std::string>& dense);

// The scheme that each quantized linear of an existing checkpoint has, from its config.json; empty where it has no
// quantization_config. UNSUPPORTED_MODEL for a format that calipress does not read.
struct QuantizationConfig {
  std::vector<QuantizationScheme> schemes;        // one per config group
  std::vector<std::vector<std::string>> targets;  // of each group
  std::vector<std::string> ignore;
  const LinearFormat* format = &CompressedTensors();  // of the linears that have a scheme: formats/linear_format.h
  std::optional<SpqrQuantization> spqr;               // instead of groups: a checkpoint in SpQR's layout
  bool empty() const { return schemes.empty() && !spqr; }
  // Null where the module is dense, or in SpQR's layout.
  const QuantizationScheme* SchemeOf(std::string_view module) const;
  // Null where the module, a linear, is not in SpQR's layout.
  const SpqrScheme* SpqrSchemeOf(std::string_view module) const;
};
absl::StatusOr<QuantizationConfig> ParseQuantizationConfig(std::string_view config_json);

}  // namespace calipress::checkpoint
