#include "compress/checkpoint/scheme_json.h"

#include <string>

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"

namespace calipress::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kInputBits = 8;

std::string_view TypeName(NumberType type) { return type == NumberType::kInt ? "int" : "float"; }

absl::StatusOr<NumberType> ReadType(const Json& entry, const std::string& name) {
  const Json type = entry.value("type", Json("int"));
  if (type == "int") return NumberType::kInt;
  if (type == "float") return NumberType::kFloat;
  return Unsupported(name + ".type is neither int nor float");
}

absl::StatusOr<int64_t> ReadGroupSize(const Json& entry, const std::string& name) {
  const auto size = entry.find("group_size");
  if (size == entry.end() || !size->is_number_integer() || size->get<int64_t>() < 1) {
    return Unsupported(name + ".group_size is missing");
  }
  return size->get<int64_t>();
}

absl::Status ReadStrategy(const Json& weights, QuantizationScheme* scheme) {
  const Json strategy = weights.value("strategy", Json("channel"));
  scheme->group_size = -1;
  if (strategy == "group") {
    scheme->strategy = Strategy::kGroup;
    CALIPRESS_ASSIGN_OR_RETURN(scheme->group_size, ReadGroupSize(weights, "weights"));
  } else if (strategy == "channel") {
    scheme->strategy = Strategy::kChannel;
  } else if (strategy == "tensor") {
    scheme->strategy = Strategy::kTensor;
  } else if (strategy == "block") {
    scheme->strategy = Strategy::kBlock;
    if (weights.value("block_structure", Json()) != Json::array({kBlockSize, kBlockSize})) {
      return Unsupported("weights.block_structure is not [128, 128]");
    }
  } else {
    return Unsupported("weights.strategy is none of group, channel, tensor and block");
  }
  return absl::OkStatus();
}

absl::Status ReadInputs(const Json& inputs, QuantizationScheme* scheme) {
  if (inputs.is_null()) return absl::OkStatus();
  if (!inputs.is_object()) return Unsupported("input_activations is not an object");
  CALIPRESS_ASSIGN_OR_RETURN(const NumberType type, ReadType(inputs, "input_activations"));
  if (type != scheme->type || inputs.value("num_bits", Json(8)) != kInputBits) {
    return Unsupported("input_activations are not 8 bits of the weights' type");
  }
  if (inputs.value("symmetric", Json(true)) != true) return Unsupported("input_activations are asymmetric");
  const Json dynamic = inputs.value("dynamic", Json(false));
  const Json strategy = inputs.value("strategy", Json("tensor"));
  const bool blocks = scheme->strategy == Strategy::kBlock;
  if (dynamic == true && !blocks && strategy == "token") {
    scheme->activations = Activations::kDynamic;
  } else if (dynamic == true && blocks && strategy == "group") {
    CALIPRESS_ASSIGN_OR_RETURN(const int64_t size, ReadGroupSize(inputs, "input_activations"));
    if (size != kBlockSize) return Unsupported("input_activations.group_size is not 128");
    scheme->activations = Activations::kDynamic;
  } else if (dynamic == false && strategy == "tensor") {
    scheme->activations = Activations::kStatic;
  } else {
    return Unsupported("input_activations are neither dynamic per token (or 128 columns of one) nor static per tensor");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Unsupported(std::string_view what) {
  return PreconditionError(reason::kUnsupportedModel,
                           "quantization_config: " + std::string(what) +
                               "; calipress reads compressed-tensors in the pack-, int-, float- and naive-quantized "
                               "formats, gptq, awq and spqr");
}

std::string_view FormatOf(const QuantizationScheme& scheme) {
  if (scheme.Packed()) return "pack-quantized";
  if (scheme.type == NumberType::kInt) return "int-quantized";
  return scheme.activations == Activations::kNone ? "naive-quantized" : "float-quantized";
}

Json WeightsEntry(const QuantizationScheme& scheme) {
  Json weights = {{"num_bits", scheme.bits}, {"type", TypeName(scheme.type)}, {"symmetric", scheme.symmetric}};
  switch (scheme.Normalized().strategy) {
    case Strategy::kGroup:
      weights["strategy"] = "group";
      weights["group_size"] = scheme.group_size;
      break;
    case Strategy::kChannel:
      weights["strategy"] = "channel";
      break;
    case Strategy::kTensor:
      weights["strategy"] = "tensor";
      break;
    case Strategy::kBlock:
      weights["strategy"] = "block";
      weights["block_structure"] = {kBlockSize, kBlockSize};
      break;
  }
  weights["dynamic"] = false;
  return weights;
}

Json InputsEntry(const QuantizationScheme& scheme) {
  if (scheme.activations == Activations::kNone) return nullptr;
  Json inputs = {{"num_bits", kInputBits}, {"type", TypeName(scheme.type)}, {"symmetric", true}};
  if (scheme.activations == Activations::kStatic) {
    inputs["strategy"] = "tensor";
  } else if (scheme.strategy == Strategy::kBlock) {
    inputs["strategy"] = "group";
    inputs["group_size"] = kBlockSize;
  } else {
    inputs["strategy"] = "token";
  }
  inputs["dynamic"] = scheme.activations == Activations::kDynamic;
  return inputs;
}

absl::StatusOr<QuantizationScheme> ReadScheme(const Json& format, const Json& weights, const Json& inputs) {
  const bool packed = format == "pack-quantized";
  if (!packed && format != "int-quantized" && format != "float-quantized" && format != "naive-quantized") {
    return Unsupported("the format is " + Printable(format.dump()));
  }
  if (!weights.is_object()) return Unsupported("a config group has no weights");
  QuantizationScheme scheme;
  const auto bits = weights.find("num_bits");
  if (bits == weights.end() || !bits->is_number_integer()) return Unsupported("weights.num_bits is missing");
  const int64_t width = bits->get<int64_t>();
  if (width < 2 || width > 8) return Unsupported("weights.num_bits is not 2 to 8");
  scheme.bits = static_cast<int>(width);
  CALIPRESS_ASSIGN_OR_RETURN(scheme.type, ReadType(weights, "weights"));
  if (weights.value("dynamic", Json(false)) != false) return Unsupported("weights.dynamic is not false");
  // Any other order keeps a group index beside the codes.
  const Json order = weights.value("actorder", Json());
  if (!order.is_null() && order != "static" && order != "weight") {
    return Unsupported("weights.actorder is " + Printable(order.dump()));
  }
  const Json symmetric = weights.value("symmetric", Json(true));
  if (!symmetric.is_boolean()) return Unsupported("weights.symmetric is neither true nor false");
  scheme.symmetric = symmetric.get<bool>();
  if (scheme.type == NumberType::kFloat && (scheme.bits != 8 || !scheme.symmetric)) {
    return Unsupported("float weights are not 8 bits and symmetric");
  }
  CALIPRESS_RETURN_IF_ERROR(ReadStrategy(weights, &scheme));
  CALIPRESS_RETURN_IF_ERROR(ReadInputs(inputs, &scheme));
  if (packed != scheme.Packed()) {
    return Unsupported(packed ? "pack-quantized weights are floats, or have quantized inputs"
                              : "integer weights alone are not pack-quantized");
  }
  if (packed && (scheme.strategy == Strategy::kTensor || scheme.strategy == Strategy::kBlock)) {
    return Unsupported("weights.strategy of pack-quantized weights is neither group nor channel");
  }
  return scheme;
}

}  // namespace calipress::checkpoint
