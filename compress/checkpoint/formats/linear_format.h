#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/safetensors.h"

namespace calipress::checkpoint {

// One quantized linear [out, in] as views of somebody's memory: what every format holds in its own way. The weight is
// (codes - zero_points) * scales, rounded once to the dtype of the scales.
struct CodesView {
  QuantizationScheme scheme;
  int64_t out = 0, in = 0;
  const int8_t* codes = nullptr;        // [out, in], signed; kFloat: the bytes of E4M3
  Dtype dtype = Dtype::kF16;            // of the scales: BF16, F16, F32
  const void* scales = nullptr;         // [ScaleRows(out), Groups(in)]
  const int8_t* zero_points = nullptr;  // likewise, signed; null where symmetric
  std::optional<float> input_scale;     // where activations are kStatic

  int64_t Groups() const { return scheme.Groups(in); }
};

// Rows [begin, end) of the weight, row-major in the scales' dtype. `weight` is where row 0 goes.
void DequantizeRows(const CodesView& view, int64_t begin, int64_t end, void* weight);

// A decoded linear that owns its memory.
struct CodesLinear {
  QuantizationScheme scheme;
  int64_t out = 0, in = 0;
  std::vector<int8_t> codes;
  Dtype dtype = Dtype::kF16;
  std::vector<char> scales;
  std::vector<int8_t> zero_points;  // empty where symmetric
  std::optional<float> input_scale;

  CodesView View() const {
    const int8_t* zeros = zero_points.empty() ? nullptr : zero_points.data();
    return {scheme, out, in, codes.data(), dtype, scales.data(), zeros, input_scale};
  }
};

// A tensor's bytes by its whole name; nullopt where there is none.
struct StoredTensor {
  Dtype dtype = Dtype::kI32;
  std::vector<int64_t> shape;
  std::vector<char> bytes;
};
using TensorSource = std::function<absl::StatusOr<std::optional<StoredTensor>>(const std::string& name)>;
// `reader` outlives the source.
TensorSource SourceOf(const ModelReader& reader);

using ByteSink = std::function<absl::Status(const void* data, int64_t bytes)>;

// Calls `work` on ranges that together are [0, rows), each once, perhaps at the same time.
using RowRunner = std::function<void(int64_t rows, const std::function<void(int64_t begin, int64_t end)>& work)>;
void RunRows(int64_t rows, const std::function<void(int64_t begin, int64_t end)>& work);  // one after the other

// What a format cannot hold of a scheme: the option in a recipe's terms ("bits"), and why with what to do.
struct Misfit {
  std::string option;
  std::string why;
};

// One way to lay quantized linears out in a checkpoint. Without state; singletons that live for ever.
class LinearFormat {
 public:
  virtual ~LinearFormat() = default;

  // As in a recipe's output.format.
  virtual std::string_view name() const = 0;
  // True where all numbers of the checkpoint are F16, as the programs that load it run in it.
  virtual bool holds_f16() const = 0;

  virtual std::vector<Misfit> SchemeMisfits(const QuantizationScheme& scheme) const = 0;
  // Why a linear of this shape does not fit; empty: it does.
  virtual std::string ShapeMisfit(const QuantizationScheme& scheme, int64_t out, int64_t in) const = 0;
  // Why these linears together do not; empty: they do. `dense` are the linears that stay dense, the head too.
  virtual std::string ModelMisfit(const std::vector<QuantizedModule>& modules,
                                  const std::vector<std::string>& dense) const = 0;

  // The tensors that replace `<module>.weight`, in the order they are written.
  virtual std::vector<TensorPlan> Plan(std::string_view module, int64_t out, int64_t in,
                                       const QuantizationScheme& scheme, Dtype scale_dtype) const = 0;
  // The bytes of those tensors, in that order.
  virtual absl::Status Encode(const CodesView& view, const ByteSink& sink) const = 0;
  // The linear back from its tensors. SOURCE_MODEL_CORRUPT with the tensor's name for anything that is not as the
  // format has it. Untrusted bytes.
  virtual absl::StatusOr<CodesLinear> Decode(std::string_view module, int64_t out, int64_t in,
                                             const QuantizationScheme& scheme, const TensorSource& source,
                                             const RowRunner& run = RunRows) const = 0;
  // Its zero points alone, as CodesView has them; empty where the scheme is symmetric.
  virtual absl::StatusOr<std::vector<int8_t>> DecodeZeroPoints(std::string_view module, int64_t out, int64_t in,
                                                               const QuantizationScheme& scheme,
                                                               const TensorSource& source) const = 0;

  // config.json of the result; no linear may be a misfit.
  virtual absl::StatusOr<std::string> Config(std::string_view source_config,
                                             const std::vector<QuantizedModule>& modules,
                                             const std::vector<std::string>& dense) const = 0;
  // A file beside it that repeats its quantization_config; empty: none.
  virtual std::string_view repeated_config() const { return {}; }
};

const LinearFormat& CompressedTensors();  // compressed-tensors
const LinearFormat& Gptq();               // GPTQ v1, as AutoGPTQ and GPTQModel write it
const LinearFormat& GptqV2();             // read alone: zero points stored as they are
const LinearFormat& Awq();                // AutoAWQ "gemm"

// By output.format, where the empty text is the default; null for any other ("dense", "spqr").
const LinearFormat* FindLinearFormat(std::string_view name);

// The whole of a file that LinearFormat::repeated_config names.
absl::StatusOr<std::string> RepeatedConfig(std::string_view config_json);

}  // namespace calipress::checkpoint
