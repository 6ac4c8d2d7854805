#include "compress/checkpoint/copy_tensor.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/number_formats.h"

namespace calipress::checkpoint {
namespace {

constexpr int64_t kPieceBytes = 8 << 20;  // a multiple of every dtype's size

// Read into fp32; those of F64 are rounded on the way, as torch does.
struct F64 {
  using Stored = double;
  static float Load(Stored stored) { return static_cast<float>(stored); }
};

template <typename From, typename To>
ConversionLoss Convert(const void* numbers, int64_t count, void* converted) {
  const auto* in = static_cast<const typename From::Stored*>(numbers);
  auto* out = static_cast<typename To::Stored*>(converted);
  ConversionLoss loss;
  for (int64_t i = 0; i < count; ++i) {
    const float value = From::Load(in[i]);
    out[i] = To::Round(value);
    const float back = To::Load(out[i]);
    loss.inexact |= back != value && !std::isnan(value);
    loss.overflow |= std::isinf(back) && !std::isinf(value);
  }
  return loss;
}

template <typename From>
ConversionLoss Convert(const void* numbers, int64_t count, Dtype to, void* converted) {
  return WithNumbers(to, [&](auto number) { return Convert<From, decltype(number)>(numbers, count, converted); });
}

}  // namespace

ConversionLoss ConvertNumbers(Dtype from, const void* numbers, int64_t count, Dtype to, void* converted) {
  if (from == Dtype::kF64) return Convert<F64>(numbers, count, to, converted);
  return WithNumbers(from, [&](auto number) { return Convert<decltype(number)>(numbers, count, to, converted); });
}

absl::StatusOr<ConversionLoss> CopyTensor(const ModelReader& reader, const TensorInfo& info, Dtype dtype,
                                          SafetensorsWriter& writer) {
  ConversionLoss loss;
  std::vector<char> piece, converted;
  for (int64_t begin = 0; begin < info.bytes; begin += kPieceBytes) {
    piece.resize(std::min(kPieceBytes, info.bytes - begin));
    CALIPRESS_RETURN_IF_ERROR(reader.ReadPart(info, begin, static_cast<int64_t>(piece.size()), piece.data()));
    if (dtype != info.dtype) {
      const int64_t count = static_cast<int64_t>(piece.size()) / DtypeBytes(info.dtype);
      converted.resize(count * DtypeBytes(dtype));
      loss.Merge(ConvertNumbers(info.dtype, piece.data(), count, dtype, converted.data()));
      if (loss.overflow) {
        return PreconditionError(
            reason::kNonFiniteWeights,
            absl::StrCat("tensor ", info.name, " has values beyond the range of ", std::string(DtypeName(dtype)),
                         ", in which the checkpoint is to be written; choose a format that keeps the model's "
                         "dtype (compressed-tensors, dense)"));
      }
    }
    const std::vector<char>& bytes = dtype == info.dtype ? piece : converted;
    CALIPRESS_RETURN_IF_ERROR(writer.Append(bytes.data(), static_cast<int64_t>(bytes.size())));
  }
  return loss;
}

}  // namespace calipress::checkpoint
