#include "compress/engine/result_bytes.h"

#include <algorithm>

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

namespace calipress::engine {
namespace {

using method::LinearResult;
using method::QuantizedWeight;
using method::SpqrWeight;

// In the order in which they travel.
std::vector<at::Tensor*> TensorsOf(QuantizedWeight& weight) {
  return {&weight.codes, &weight.scales, &weight.zero_points, &weight.input_scale};
}
std::vector<at::Tensor*> TensorsOf(SpqrWeight& weight) {
  return {&weight.order,           &weight.codes,           &weight.scale_codes,   &weight.zero_codes,
          &weight.scale_steps,     &weight.scale_lows,      &weight.zero_steps,    &weight.zero_lows,
          &weight.outlier_offsets, &weight.outlier_columns, &weight.outlier_values};
}

template <typename Weight>
void PutWeight(const std::optional<Weight>& weight, ByteWriter& writer) {
  writer.Put(weight.has_value());
  if (!weight) return;
  writer.Put(weight->scheme);
  Weight copy = *weight;
  for (const at::Tensor* tensor : TensorsOf(copy)) writer.PutTensor(*tensor);
}

template <typename Weight>
std::optional<Weight> TakeWeight(ByteReader& reader) {
  if (!reader.Take<bool>() || !reader.ok()) return std::nullopt;
  Weight weight;
  weight.scheme = reader.Take<decltype(weight.scheme)>();
  for (at::Tensor* tensor : TensorsOf(weight)) *tensor = reader.TakeTensor();
  return weight;
}

// Along the rows; undefined where the first part's is.
at::Tensor Join(const std::vector<LinearResult>& parts, const auto& tensor_of) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(parts.size());
  for (const LinearResult& part : parts) tensors.push_back(tensor_of(part));
  return tensors.front().defined() ? at::cat(tensors) : at::Tensor();
}

QuantizedWeight JoinQuantized(const std::vector<LinearResult>& parts) {
  QuantizedWeight joined = *parts.front().quantized;
  joined.codes = Join(parts, [](const LinearResult& part) { return part.quantized->codes; });
  joined.scales = Join(parts, [](const LinearResult& part) { return part.quantized->scales; });
  joined.zero_points = Join(parts, [](const LinearResult& part) { return part.quantized->zero_points; });
  return joined;
}

SpqrWeight JoinSpqr(const std::vector<LinearResult>& parts) {
  SpqrWeight joined = *parts.front().spqr;
  for (at::Tensor SpqrWeight::*tensor :
       {&SpqrWeight::codes, &SpqrWeight::scale_codes, &SpqrWeight::zero_codes, &SpqrWeight::scale_steps,
        &SpqrWeight::scale_lows, &SpqrWeight::zero_steps, &SpqrWeight::zero_lows, &SpqrWeight::outlier_columns,
        &SpqrWeight::outlier_values}) {
    joined.*tensor = Join(parts, [&](const LinearResult& part) { return (*part.spqr).*tensor; });
  }
  // Offsets count on from where the rows before end.
  std::vector<at::Tensor> offsets;
  int64_t before = 0;
  for (const LinearResult& part : parts) {
    const at::Tensor& own = part.spqr->outlier_offsets;
    offsets.push_back((offsets.empty() ? own : own.slice(0, 1)).add(before));
    before += part.spqr->outlier_columns.numel();
  }
  joined.outlier_offsets = at::cat(offsets);
  return joined;
}

}  // namespace

void PutResult(const LinearResult& result, ByteWriter& writer) {
  PutWeight(result.quantized, writer);
  PutWeight(result.spqr, writer);
  writer.PutTensor(result.quantized || result.spqr ? at::Tensor() : result.weight);
  writer.PutTensor(result.pruned);
  writer.PutString(result.method);
  writer.Put(result.relative_error);
  writer.Put(result.energy);
  writer.Put(result.damping);
  writer.Put(result.dead_columns);
  writer.Put(result.seconds);
  writer.PutString(result.warning);
}

LinearResult TakeResult(ByteReader& reader, at::Device device) {
  LinearResult result;
  result.quantized = TakeWeight<QuantizedWeight>(reader);
  result.spqr = TakeWeight<SpqrWeight>(reader);
  result.weight = reader.TakeTensor();
  result.pruned = reader.TakeTensor();
  result.method = reader.TakeString();
  result.relative_error = reader.Take<double>();
  result.energy = reader.Take<double>();
  result.damping = reader.Take<double>();
  result.dead_columns = reader.Take<int64_t>();
  result.seconds = reader.Take<double>();
  result.warning = reader.TakeString();
  if (!reader.ok()) return result;
  if (result.quantized) result.weight = method::Dequantize(*result.quantized);
  if (result.spqr) {
    // The solver leaves them on the processor.
    for (at::Tensor* tensor : TensorsOf(*result.spqr)) *tensor = tensor->defined() ? tensor->cpu() : *tensor;
    result.weight = method::DequantizeSpqr(*result.spqr).to(device);
  }
  return result;
}

LinearResult JoinRows(const std::vector<LinearResult>& parts) {
  if (parts.size() == 1) return parts.front();
  LinearResult joined = parts.front();
  joined.weight = Join(parts, [](const LinearResult& part) { return part.weight; });
  const bool pruned =
      std::any_of(parts.begin(), parts.end(), [](const LinearResult& part) { return part.pruned.defined(); });
  if (pruned) {
    joined.pruned = Join(parts, [](const LinearResult& part) {
      return part.pruned.defined() ? part.pruned : at::zeros_like(part.weight, at::kBool);
    });
  }
  if (joined.quantized) joined.quantized = JoinQuantized(parts);
  if (joined.spqr) joined.spqr = JoinSpqr(parts);
  double lost = 0.0;
  joined.energy = 0.0;
  for (const LinearResult& part : parts) {
    lost += part.relative_error * part.energy;
    joined.energy += part.energy;
    joined.damping = std::max(joined.damping, part.damping);
    joined.seconds = std::max(joined.seconds, part.seconds);
    if (joined.warning.empty()) joined.warning = part.warning;
  }
  joined.relative_error = joined.energy > 0.0 ? lost / joined.energy : 0.0;
  return joined;
}

}  // namespace calipress::engine
