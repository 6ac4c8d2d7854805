#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/arch/dtype.h"
#include "compress/checkpoint/safetensors.h"

namespace calipress::checkpoint {

// SpQR on disk; docs/formats/spqr.md is the specification, tests/e2e/spqr_unpack.py reads it independently.

struct SpqrScheme {
  int bits = 4, scale_bits = 3, zero_bits = 3;  // 2 to 4, 1 to 8, 1 to 8
  int64_t group_size = 16, scale_group_size = 16;
  bool act_order = true;  // columns of codes are permuted, and `weight_order` says how

  bool operator==(const SpqrScheme&) const = default;
};

// What a code of a scale or a zero point stands for. The product is exact in double and the sum rounded to fp32, so
// that no compiler's contraction changes a bit.
inline float SpqrLevel(int code, float step, float low) {
  return static_cast<float>(static_cast<double>(code) * static_cast<double>(step) + static_cast<double>(low));
}

// One linear [out, in], unpacked, as views of somebody's memory. groups = in / group_size, runs = ceil(out /
// scale_group_size); grids and values are in `dtype` (BF16, F16 or F32).
struct SpqrView {
  SpqrScheme scheme;
  int64_t out = 0, in = 0;
  Dtype dtype = Dtype::kBF16;
  const int32_t* order = nullptr;        // [in]; null: columns as they stand
  const uint8_t* codes = nullptr;        // [out, in]
  const uint8_t* scale_codes = nullptr;  // [out, groups]
  const uint8_t* zero_codes = nullptr;   // [out, groups]
  const void* scale_steps = nullptr;     // [runs, groups], as the next three
  const void* scale_lows = nullptr;
  const void* zero_steps = nullptr;
  const void* zero_lows = nullptr;
  const int32_t* outlier_offsets = nullptr;  // [out + 1]
  const int32_t* outlier_columns = nullptr;  // [count], ascending in each row
  const void* outlier_values = nullptr;      // [count]

  int64_t Groups() const { return in / scheme.group_size; }
  int64_t Runs() const { return (out + scheme.scale_group_size - 1) / scheme.scale_group_size; }
  int64_t Outliers() const { return outlier_offsets[out]; }
};

// Rows [begin, end) of the weight, row-major in the view's dtype: (code - zero point) * scale in fp32, rounded once;
// outliers as they are. `weight` is where row 0 goes.
void DequantizeSpqrRows(const SpqrView& view, int64_t begin, int64_t end, void* weight);

// The tensors that replace `<module>.weight`, in the order they are written.
std::vector<TensorPlan> SpqrLinearPlan(std::string_view module, int64_t out, int64_t in, const SpqrScheme& scheme,
                                       Dtype dtype, int64_t outliers);

// The bytes of those tensors, in that order. The view is whole and consistent.
absl::Status EncodeSpqr(const SpqrView& view, const std::function<absl::Status(const void* data, int64_t bytes)>& sink);

// A decoded linear that owns its memory.
class SpqrLinear {
 public:
  SpqrView View() const;

  SpqrScheme scheme;
  int64_t out = 0, in = 0;
  Dtype dtype = Dtype::kBF16;
  std::vector<int32_t> order, outlier_offsets, outlier_columns;
  std::vector<uint8_t> codes, scale_codes, zero_codes;
  std::vector<char> scale_grid, zero_grid, outlier_values;
};

// Gives the bytes of a tensor by the end of its name ("weight_packed"), and its dtype and shape; nullopt where there is
// none.
struct SpqrTensorBytes {
  Dtype dtype;
  std::vector<int64_t> shape;
  std::vector<char> bytes;
};
using SpqrTensorReader = std::function<absl::StatusOr<std::optional<SpqrTensorBytes>>(std::string_view name)>;

// Decodes `module`'s tensors. SOURCE_MODEL_CORRUPT with the tensor's name for anything that is not as the specification
// has it: dtypes, shapes, an order that is no permutation, offsets that do not ascend, columns out of range or order.
// Untrusted bytes: fuzzed.
absl::StatusOr<SpqrLinear> DecodeSpqr(std::string_view module, int64_t out, int64_t in, const SpqrScheme& scheme,
                                      const SpqrTensorReader& read);

// config.json of a result in which every quantized linear has this scheme; `dense` are the linears left dense.
absl::StatusOr<std::string> SpqrConfig(std::string_view source_config, const SpqrScheme& scheme,
                                       const std::vector<std::string>& dense);

// What config.json says of an SpQR checkpoint; nullopt where quant_method is another or there is none.
// UNSUPPORTED_MODEL for options out of range.
struct SpqrQuantization {
  SpqrScheme scheme;
  std::vector<std::string> dense;  // exact module paths
};
absl::StatusOr<std::optional<SpqrQuantization>> ParseSpqrConfig(std::string_view config_json);

}  // namespace calipress::checkpoint
