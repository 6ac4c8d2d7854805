#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/checkpoint/safetensors.h"

namespace calipress::checkpoint {

// How the weights of a linear are quantized.
struct QuantizationScheme {
  int bits = 4;
  int64_t group_size = 128;  // -1: one scale per output channel
  bool symmetric = true;

  bool operator==(const QuantizationScheme&) const = default;
  // Columns of the scale tensor for a linear with `in` inputs.
  int64_t Groups(int64_t in) const { return group_size < 0 ? 1 : in / group_size; }
};

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

// A linear's path with its scheme.
struct QuantizedModule {
  std::string module;
  QuantizationScheme scheme;
};

// config.json of the result: the source's config with "quantization_config" (pack-quantized, status "compressed").
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
  // Null where the module is dense.
  const QuantizationScheme* SchemeOf(std::string_view module) const;
};
absl::StatusOr<QuantizationConfig> ParseQuantizationConfig(std::string_view config_json);

}  // namespace calipress::checkpoint
