#include "compress/engine/block_file.h"

#include <cstdio>
#include <optional>

#include <ATen/core/Tensor.h>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/copy_tensor.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/engine/imatrix.h"
#include "compress/model/weights.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

constexpr std::string_view kWeightSuffix = ".weight";

// The linear whose weight a tensor is; null for anything else.
const arch::LinearSpec* LinearOfWeight(const std::string& tensor, const std::vector<arch::LinearSpec>& linears) {
  for (const auto& linear : linears) {
    if (tensor == linear.module + std::string(kWeightSuffix)) return &linear;
  }
  return nullptr;
}

// What a tensor that is no codes is written in: what the source has it in, where the format does not say otherwise.
Dtype DtypeOf(const OpenModel& model, const v1::Recipe& recipe, const std::string& tensor) {
  const checkpoint::TensorInfo* info = model.reader->Find(tensor);
  return info == nullptr ? model.spec.dtype : recipe::StoredDtype(recipe, info->dtype);
}

absl::Status CopyTensor(const OpenModel& model, const v1::Recipe& recipe, const std::string& name,
                        checkpoint::SafetensorsWriter& writer) {
  const checkpoint::TensorInfo* info = model.reader->Find(name);
  if (info == nullptr) return DefectError("tensor " + name + " went missing from the source model");
  return checkpoint::CopyTensor(*model.reader, *info, recipe::StoredDtype(recipe, info->dtype), writer).status();
}

absl::Status AppendTensor(checkpoint::SafetensorsWriter& writer, const at::Tensor& tensor,
                          std::optional<Dtype> dtype = std::nullopt) {
  const at::Tensor local = (dtype ? tensor.to(model::ToScalarType(*dtype)) : tensor).cpu().contiguous();
  return writer.Append(local.data_ptr(), local.nbytes());
}

absl::Status AppendCodes(checkpoint::SafetensorsWriter& writer, const checkpoint::LinearFormat& format,
                         const method::QuantizedWeight& quantized) {
  const at::Tensor codes = quantized.codes.cpu().contiguous(), scales = quantized.scales.cpu().contiguous();
  const at::Tensor zeros = quantized.scheme.symmetric ? at::Tensor() : quantized.zero_points.cpu().contiguous();
  checkpoint::CodesView view;
  view.scheme = quantized.scheme;
  view.out = codes.size(0);
  view.in = codes.size(1);
  view.codes = static_cast<const int8_t*>(codes.const_data_ptr());  // E4M3 too: a byte each
  view.dtype = model::FromScalarType(scales.scalar_type());
  view.scales = scales.const_data_ptr();
  view.zero_points = zeros.defined() ? zeros.const_data_ptr<int8_t>() : nullptr;
  if (quantized.input_scale.defined()) view.input_scale = quantized.input_scale.item<float>();
  return format.Encode(view, [&](const void* data, int64_t bytes) { return writer.Append(data, bytes); });
}

absl::Status AppendSpqr(checkpoint::SafetensorsWriter& writer, const method::SpqrWeight& weight) {
  return checkpoint::EncodeSpqr(method::ViewOf(weight),
                                [&](const void* data, int64_t bytes) { return writer.Append(data, bytes); });
}

const method::LinearResult* ResultOf(const CompressedBlock& block, const arch::LinearSpec* linear) {
  if (linear == nullptr) return nullptr;
  for (const auto& [name, result] : block.linears) {
    if (name == linear->module) return &result;
  }
  return nullptr;
}

// Of the tensors that hold the linear: codes, grids, outliers.
double BitsPerWeight(const std::vector<checkpoint::TensorPlan>& plan, const arch::LinearSpec& linear) {
  int64_t bytes = 0;
  for (const checkpoint::TensorPlan& tensor : plan) bytes += checkpoint::TensorBytes(tensor);
  return 8.0 * static_cast<double>(bytes) / (static_cast<double>(linear.out) * static_cast<double>(linear.in));
}

int64_t OutliersOf(const method::LinearResult* result) {
  return result != nullptr && result->spqr ? result->spqr->outlier_columns.numel() : 0;
}

}  // namespace

std::string BlockFileName(int64_t block) {
  char name[40];
  std::snprintf(name, sizeof name, "block-%05lld.safetensors", static_cast<long long>(block));
  return name;
}

std::vector<checkpoint::TensorPlan> BlockFilePlan(const OpenModel& model, const v1::Recipe& recipe,
                                                  const CompressedBlock& block) {
  const auto linears = arch::BlockLinears(model.spec, block.index);
  std::vector<checkpoint::TensorPlan> plan;
  for (const auto& tensor : arch::BlockTensors(model.spec, block.index)) {
    const Dtype dtype = DtypeOf(model, recipe, tensor.name);
    const arch::LinearSpec* linear = LinearOfWeight(tensor.name, linears);
    if (linear != nullptr &&
        (recipe::SchemeFor(recipe, linear->module) || recipe::SpqrSchemeFor(recipe, linear->module))) {
      for (auto& packed :
           recipe::LinearTensors(recipe, *linear, model.spec.dtype, OutliersOf(ResultOf(block, linear)))) {
        plan.push_back(std::move(packed));
      }
    } else {
      plan.push_back({tensor.name, dtype, tensor.shape});
    }
  }
  if (recipe.output().imatrix()) {
    for (auto& sums : SquareSumPlan(model.spec, block.index)) plan.push_back(std::move(sums));
  }
  return plan;
}

absl::StatusOr<worker::v1::FinishedBlock> WriteBlockFile(storage::ObjectStore& store, const OpenModel& model,
                                                         const v1::Recipe& recipe, const CompressedBlock& block,
                                                         const std::string& uri) {
  CALIPRESS_ASSIGN_OR_RETURN(auto writer,
                             checkpoint::SafetensorsWriter::Create(store, uri, BlockFilePlan(model, recipe, block)));
  const auto linears = arch::BlockLinears(model.spec, block.index);
  worker::v1::FinishedBlock finished;
  for (const auto& tensor : arch::BlockTensors(model.spec, block.index)) {
    const arch::LinearSpec* linear = LinearOfWeight(tensor.name, linears);
    const method::LinearResult* result = ResultOf(block, linear);
    const bool dense = recipe.output().format() == "dense";
    const auto changed = block.changed.find(tensor.name);
    if (result == nullptr && changed != block.changed.end()) {
      CALIPRESS_RETURN_IF_ERROR(AppendTensor(*writer, changed->second, DtypeOf(model, recipe, tensor.name)));
    } else if (result == nullptr) {
      CALIPRESS_RETURN_IF_ERROR(CopyTensor(model, recipe, tensor.name, *writer));
    } else if (result->quantized && dense) {
      CALIPRESS_RETURN_IF_ERROR(
          AppendTensor(*writer, method::Dequantize(*result->quantized), DtypeOf(model, recipe, tensor.name)));
    } else if (result->quantized) {
      CALIPRESS_RETURN_IF_ERROR(
          AppendCodes(*writer, *checkpoint::FindLinearFormat(recipe.output().format()), *result->quantized));
    } else if (result->spqr && dense) {
      CALIPRESS_RETURN_IF_ERROR(
          AppendTensor(*writer, method::DequantizeSpqr(*result->spqr), DtypeOf(model, recipe, tensor.name)));
    } else if (result->spqr) {
      CALIPRESS_RETURN_IF_ERROR(AppendSpqr(*writer, *result->spqr));
    } else {
      CALIPRESS_RETURN_IF_ERROR(AppendTensor(*writer, result->weight, DtypeOf(model, recipe, tensor.name)));
    }
  }
  if (recipe.output().imatrix()) {
    for (const at::Tensor& sums : block.square_sums) CALIPRESS_RETURN_IF_ERROR(AppendTensor(*writer, sums));
  }
  CALIPRESS_RETURN_IF_ERROR(writer->Close());
  for (const auto& [name, result] : block.linears) {
    auto* linear = finished.add_linears();
    for (const arch::LinearSpec& spec : linears) {
      if (spec.module != name) continue;
      linear->set_bits_per_weight(
          BitsPerWeight(recipe::LinearTensors(recipe, spec, model.spec.dtype, OutliersOf(&result)), spec));
    }
    linear->set_name(name);
    linear->set_method(result.method);
    linear->set_relative_error(result.relative_error);
    linear->set_damping(result.damping);
    linear->set_dead_columns(static_cast<int32_t>(result.dead_columns));
    linear->set_seconds(result.seconds);
    linear->set_warning(result.warning);
    if (result.pruned.defined()) linear->set_sparsity(result.pruned.to(at::kFloat).mean().item<double>());
  }
  finished.set_index(static_cast<int32_t>(block.index));
  finished.set_uri(uri);
  finished.set_bytes(writer->file_bytes());
  finished.set_sha256(writer->sha256());
  return finished;
}

checkpoint::QuantizationConfig ResultQuantization(const arch::ArchSpec& spec, const v1::Recipe& recipe) {
  checkpoint::QuantizationConfig config;
  if (const auto* format = checkpoint::FindLinearFormat(recipe.output().format())) config.format = format;
  checkpoint::SpqrQuantization spqr;
  spqr.dense.emplace_back(arch::HeadModule(spec));
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (const auto& linear : arch::BlockLinears(spec, block)) {
      if (const auto scheme = recipe::SpqrSchemeFor(recipe, linear.module)) {
        spqr.scheme = *scheme;
        config.spqr.emplace();
        continue;
      }
      spqr.dense.push_back(linear.module);
      const auto scheme = recipe::SchemeFor(recipe, linear.module);
      if (!scheme) continue;
      size_t group = 0;
      while (group < config.schemes.size() && !(config.schemes[group] == *scheme)) ++group;
      if (group == config.schemes.size()) {
        config.schemes.push_back(*scheme);
        config.targets.emplace_back();
      }
      config.targets[group].push_back(linear.module);
    }
  }
  if (config.spqr) config.spqr = std::move(spqr);
  return config;
}

absl::StatusOr<StagedBlock> StagedBlock::Open(storage::ObjectStore& store, const OpenModel& model,
                                              const v1::Recipe& recipe, const std::string& uri, at::Device device) {
  StagedBlock staged;
  CALIPRESS_ASSIGN_OR_RETURN(staged.reader_, checkpoint::ModelReader::OpenFile(store, uri));
  staged.weights_ = model::CheckpointWeights(*staged.reader_, ResultQuantization(model.spec, recipe),
                                             model::ToScalarType(model.spec.dtype), device);
  return staged;
}

}  // namespace calipress::engine
