#include "compress/checkpoint/convert/linear_mover.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/copy_tensor.h"
#include "compress/checkpoint/linear_weight.h"

namespace calipress::checkpoint {
namespace {

constexpr int64_t kPieceBytes = 4 << 20;

}  // namespace

absl::Status LinearMover::Append(const TensorPlan& tensor, SafetensorsWriter& writer) {
  const std::string& module = plan_.module_of.at(tensor.name);
  const LinearMove& move = plan_.moves.at(module);
  if (plan_.target == nullptr) return AppendDense(move, writer);
  if (module != module_) CALIPRESS_RETURN_IF_ERROR(Encode(move));
  const std::vector<char>& bytes = encoded_.at(tensor.name);
  return writer.Append(bytes.data(), static_cast<int64_t>(bytes.size()));
}

absl::Status LinearMover::AppendDense(const LinearMove& move, SafetensorsWriter& writer) const {
  const arch::LinearSpec& linear = move.linear;
  CALIPRESS_ASSIGN_OR_RETURN(const LinearWeight weight,
                             LinearWeight::Open(*source_.reader, source_.quantization, linear));
  const int64_t row_bytes = linear.in * DtypeBytes(weight.dtype());
  const int64_t rows = std::max<int64_t>(1, kPieceBytes / row_bytes);
  std::vector<char> piece(std::min(rows, linear.out) * row_bytes);
  for (int64_t begin = 0; begin < linear.out; begin += rows) {
    const int64_t end = std::min(linear.out, begin + rows);
    CALIPRESS_RETURN_IF_ERROR(weight.ReadRows(begin, end, piece.data()));
    CALIPRESS_RETURN_IF_ERROR(writer.Append(piece.data(), (end - begin) * row_bytes));
  }
  return absl::OkStatus();
}

absl::Status LinearMover::Encode(const LinearMove& move) {
  module_.clear();
  encoded_.clear();
  const arch::LinearSpec& linear = move.linear;
  const QuantizationScheme& scheme = *source_.quantization.SchemeOf(linear.module);
  CALIPRESS_ASSIGN_OR_RETURN(
      CodesLinear codes,
      source_.quantization.format->Decode(linear.module, linear.out, linear.in, scheme, SourceOf(*source_.reader)));
  codes.scheme = move.scheme;
  if (move.drops_zeros) codes.zero_points.clear();
  if (plan_.target->holds_f16() && codes.dtype != Dtype::kF16) {
    const int64_t count = static_cast<int64_t>(codes.scales.size()) / DtypeBytes(codes.dtype);
    std::vector<char> halves(count * DtypeBytes(Dtype::kF16));
    const ConversionLoss loss = ConvertNumbers(codes.dtype, codes.scales.data(), count, Dtype::kF16, halves.data());
    // Other scales would be other weights.
    if (loss.overflow || loss.inexact) {
      return UserError(reason::kUnsupportedCombination,
                       absl::StrCat("the scales of ", linear.module, " are ", std::string(DtypeName(codes.dtype)),
                                    " and some have no equal in F16, which ", std::string(plan_.target->name()),
                                    " holds; quantize the model again with that output.format, or choose dense"));
    }
    codes.scales = std::move(halves);
    codes.dtype = Dtype::kF16;
  }
  std::vector<char> bytes;
  CALIPRESS_RETURN_IF_ERROR(plan_.target->Encode(codes.View(), [&](const void* data, int64_t size) {
    bytes.insert(bytes.end(), static_cast<const char*>(data), static_cast<const char*>(data) + size);
    return absl::OkStatus();
  }));
  auto next = bytes.begin();
  for (const TensorPlan& tensor : plan_.target->Plan(linear.module, linear.out, linear.in, move.scheme, codes.dtype)) {
    const auto end = next + TensorBytes(tensor);
    encoded_[tensor.name].assign(next, end);
    next = end;
  }
  module_ = linear.module;
  return absl::OkStatus();
}

}  // namespace calipress::checkpoint
