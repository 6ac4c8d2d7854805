// checkpoint::DequantizeSpqrRows: the one decoder, for the solver's own result and for files.
#include "compress/checkpoint/number_formats.h"
#include "compress/checkpoint/spqr_layout.h"

namespace calipress::checkpoint {
namespace {

template <typename Number>
void Rows(const SpqrView& view, int64_t begin, int64_t end, void* weight) {
  using Stored = typename Number::Stored;
  const int64_t groups = view.Groups(), width = view.scheme.group_size;
  const auto at = [](const void* data, int64_t i) { return Number::Load(static_cast<const Stored*>(data)[i]); };
  for (int64_t row = begin; row < end; ++row) {
    Stored* out = static_cast<Stored*>(weight) + row * view.in;
    const int64_t run = row / view.scheme.scale_group_size * groups;
    const uint8_t* codes = view.codes + row * view.in;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t cell = row * groups + g;
      const float scale =
          SpqrLevel(view.scale_codes[cell], at(view.scale_steps, run + g), at(view.scale_lows, run + g));
      const float zero = SpqrLevel(view.zero_codes[cell], at(view.zero_steps, run + g), at(view.zero_lows, run + g));
      for (int64_t place = g * width; place < (g + 1) * width; ++place) {
        const int64_t column = view.order == nullptr ? place : view.order[place];
        out[column] = Number::Round(scale * (static_cast<float>(codes[place]) - zero));
      }
    }
    for (int32_t i = view.outlier_offsets[row]; i < view.outlier_offsets[row + 1]; ++i) {
      out[view.outlier_columns[i]] = static_cast<const Stored*>(view.outlier_values)[i];
    }
  }
}

}  // namespace

void DequantizeSpqrRows(const SpqrView& view, int64_t begin, int64_t end, void* weight) {
  WithNumbers(view.dtype, [&](auto number) { Rows<decltype(number)>(view, begin, end, weight); });
}

}  // namespace calipress::checkpoint
