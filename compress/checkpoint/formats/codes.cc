// What all formats of linear_format.h share.
#include <algorithm>

#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/checkpoint/json_nesting.h"
#include "compress/checkpoint/number_formats.h"
#include "nlohmann/json.hpp"

namespace calipress::checkpoint {
namespace {

// Multiples have at most 9 bits (E4M3 4), so that the product is exact in fp32 for scales of 16 bits, and rounded once.
template <typename Number, typename Multiple>
void Rows(const CodesView& view, int64_t begin, int64_t end, void* weight, const Multiple& multiple) {
  using Stored = typename Number::Stored;
  const int64_t groups = view.Groups(), width = view.scheme.GroupWidth(view.in);
  const int64_t sharing = view.scheme.RowsPerScale(view.out);
  const auto* scales = static_cast<const Stored*>(view.scales);
  for (int64_t row = begin; row < end; ++row) {
    const int8_t* codes = view.codes + row * view.in;
    Stored* out = static_cast<Stored*>(weight) + row * view.in;
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t cell = row / sharing * groups + group, last = std::min(view.in, (group + 1) * width);
      const float scale = Number::Load(scales[cell]);
      const int zero = view.zero_points == nullptr ? 0 : view.zero_points[cell];
      for (int64_t i = group * width; i < last; ++i) out[i] = Number::Round(multiple(codes[i], zero) * scale);
    }
  }
}

template <typename Number>
void Rows(const CodesView& view, int64_t begin, int64_t end, void* weight) {
  if (view.scheme.type == NumberType::kFloat) {
    return Rows<Number>(view, begin, end, weight,
                        [](int8_t code, int) { return E4m3::Load(static_cast<uint8_t>(code)); });
  }
  Rows<Number>(view, begin, end, weight, [](int8_t code, int zero) { return static_cast<float>(code - zero); });
}

}  // namespace

void DequantizeRows(const CodesView& view, int64_t begin, int64_t end, void* weight) {
  WithNumbers(view.dtype, [&](auto number) { Rows<decltype(number)>(view, begin, end, weight); });
}

TensorSource SourceOf(const ModelReader& reader) {
  return [&reader](const std::string& name) -> absl::StatusOr<std::optional<StoredTensor>> {
    const TensorInfo* info = reader.Find(name);
    if (info == nullptr) return std::nullopt;
    StoredTensor tensor{info->dtype, info->shape, std::vector<char>(info->bytes)};
    CALIPRESS_RETURN_IF_ERROR(reader.Read(*info, tensor.bytes.data()));
    return tensor;
  };
}

void RunRows(int64_t rows, const std::function<void(int64_t begin, int64_t end)>& work) { work(0, rows); }

const LinearFormat* FindLinearFormat(std::string_view name) {
  if (name.empty()) return &CompressedTensors();
  for (const LinearFormat* format : {&CompressedTensors(), &Gptq(), &Awq()}) {
    if (format->name() == name) return format;
  }
  return nullptr;
}

absl::StatusOr<std::string> RepeatedConfig(std::string_view config_json) {
  if (NestsTooDeep(config_json)) return Corrupt("config.json nests too deep to be a model's config");
  const auto config = nlohmann::ordered_json::parse(config_json, nullptr, false);
  if (!config.is_object() || !config.contains("quantization_config")) {
    return Corrupt("config.json has no quantization_config");
  }
  return config["quantization_config"].dump(2) + "\n";
}

}  // namespace calipress::checkpoint
