#include "compress/checkpoint/inspect/inspect.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/linear_weight.h"
#include "compress/checkpoint/source_checkpoint.h"

namespace calipress::checkpoint {
namespace {

constexpr int64_t kPieceBytes = 4 << 20;

std::string SchemeText(const QuantizationScheme& scheme) {
  std::string text = absl::StrCat(scheme.type == NumberType::kInt ? "int" : "float", scheme.bits);
  switch (scheme.Normalized().strategy) {
    case Strategy::kGroup:
      absl::StrAppend(&text, " g", scheme.group_size);
      break;
    case Strategy::kChannel:
      absl::StrAppend(&text, " channel");
      break;
    case Strategy::kTensor:
      absl::StrAppend(&text, " tensor");
      break;
    case Strategy::kBlock:
      absl::StrAppend(&text, " block");
      break;
  }
  if (!scheme.symmetric) absl::StrAppend(&text, " asymmetric");
  if (scheme.activations != Activations::kNone) {
    absl::StrAppend(&text, scheme.activations == Activations::kDynamic ? ", inputs dynamic" : ", inputs static");
  }
  return text;
}

absl::StatusOr<LinearInspection> InspectLinear(const ModelReader& reader, const QuantizationConfig& quantization,
                                               const arch::LinearSpec& linear, Dtype dtype) {
  LinearInspection found{linear.module, linear.out, linear.in, {}, true, 0, std::nullopt};
  for (const TensorPlan& plan : StoredTensors(reader, quantization, linear, dtype)) {
    const TensorInfo* info = reader.Find(plan.name);
    // Loaders do without it, and so do some writers.
    const bool optional = plan.name.ends_with(".g_idx");
    if (info == nullptr && optional) continue;
    if (info == nullptr || info->shape != plan.shape || info->dtype != plan.dtype) {
      return Corrupt(absl::StrCat("tensor ", plan.name, info == nullptr ? " is missing" : " has another shape or dtype",
                                  "; config.json says that the model has it"));
    }
    found.bytes += info->bytes;
    if (plan.name.ends_with(".weight")) found.scheme = std::string(DtypeName(info->dtype));
  }
  if (const SpqrScheme* spqr = quantization.SpqrSchemeOf(linear.module)) {
    found.scheme = absl::StrCat("spqr", spqr->bits, " g", spqr->group_size);
  } else if (const QuantizationScheme* scheme = quantization.SchemeOf(linear.module)) {
    found.scheme = SchemeText(*scheme);
  } else {
    found.quantized = false;
  }
  return found;
}

absl::StatusOr<ZeroCount> CountZeros(const ModelReader& reader, const QuantizationConfig& quantization,
                                     const arch::LinearSpec& linear) {
  CALIPRESS_ASSIGN_OR_RETURN(const LinearWeight weight, LinearWeight::Open(reader, quantization, linear));
  const int64_t width = DtypeBytes(weight.dtype()), rows = std::max<int64_t>(1, kPieceBytes / (linear.in * width));
  ZeroCounter counter(linear.in, width);
  std::vector<char> piece(std::min(rows, linear.out) * linear.in * width);
  for (int64_t begin = 0; begin < linear.out; begin += rows) {
    const int64_t end = std::min(linear.out, begin + rows);
    CALIPRESS_RETURN_IF_ERROR(weight.ReadRows(begin, end, piece.data()));
    counter.Add(piece.data(), end - begin);
  }
  return counter.Result();
}

int64_t Elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

}  // namespace

absl::StatusOr<Inspection> Inspect(storage::ObjectStore& store, const std::string& uri, bool count_zeros,
                                   const CancellationToken& cancellation) {
  CALIPRESS_ASSIGN_OR_RETURN(const SourceCheckpoint source, OpenCheckpoint(store, uri));
  const arch::ArchSpec& spec = source.spec;
  const QuantizationConfig& quantization = source.quantization;
  Inspection inspection;
  inspection.spec = spec;
  inspection.format = FormatName(quantization);
  inspection.bytes = source.reader->total_bytes();
  for (const arch::TensorSpec& tensor : arch::OuterTensors(spec)) inspection.parameters += Elements(tensor.shape);
  if (count_zeros) inspection.linear_zeros = 0;
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (const arch::TensorSpec& tensor : arch::BlockTensors(spec, block)) {
      inspection.parameters += Elements(tensor.shape);
    }
    for (const arch::LinearSpec& linear : arch::BlockLinears(spec, block)) {
      CALIPRESS_RETURN_IF_ERROR(cancellation.status());
      CALIPRESS_ASSIGN_OR_RETURN(LinearInspection found,
                                 InspectLinear(*source.reader, quantization, linear, spec.dtype));
      if (count_zeros) {
        CALIPRESS_ASSIGN_OR_RETURN(found.zeros, CountZeros(*source.reader, quantization, linear));
        *inspection.linear_zeros += found.zeros->zeros;
      }
      inspection.linear_weights += linear.out * linear.in;
      inspection.linear_bytes += found.bytes;
      inspection.linears.push_back(std::move(found));
    }
  }
  return inspection;
}

}  // namespace calipress::checkpoint
