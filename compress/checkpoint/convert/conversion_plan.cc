#include "compress/checkpoint/convert/conversion_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/linear_weight.h"

namespace calipress::checkpoint {
namespace {

constexpr size_t kShownReasons = 5;

absl::Status Refuse(const std::string& why) { return UserError(reason::kUnsupportedCombination, why); }

// Why the target cannot hold the linears; each reason once.
class Misfits {
 public:
  void Add(const std::string& why) {
    if (!why.empty() && std::find(reasons_.begin(), reasons_.end(), why) == reasons_.end()) reasons_.push_back(why);
  }
  absl::Status Status(const std::string& from, const std::string& to) const {
    if (reasons_.empty()) return absl::OkStatus();
    const size_t shown = std::min(reasons_.size(), kShownReasons);
    std::string text = absl::StrJoin(reasons_.begin(), reasons_.begin() + static_cast<std::ptrdiff_t>(shown), "; ");
    if (reasons_.size() > shown) absl::StrAppend(&text, "; and ", reasons_.size() - shown, " more");
    return Refuse(absl::StrCat("this ", from, " checkpoint does not fit ", to, ": ", text));
  }

 private:
  std::vector<std::string> reasons_;
};

// True where every zero point of the checkpoint is at the middle of its range: then it is symmetric, whatever its
// format (awq writes them always).
absl::StatusOr<bool> IsSymmetricThroughout(const SourceCheckpoint& source) {
  const TensorSource tensors = SourceOf(*source.reader);
  for (int64_t block = 0; block < source.spec.blocks; ++block) {
    for (const arch::LinearSpec& linear : arch::BlockLinears(source.spec, block)) {
      const QuantizationScheme* scheme = source.quantization.SchemeOf(linear.module);
      if (scheme == nullptr || scheme->symmetric) continue;
      CALIPRESS_ASSIGN_OR_RETURN(const auto zeros, source.quantization.format->DecodeZeroPoints(
                                                       linear.module, linear.out, linear.in, *scheme, tensors));
      if (std::any_of(zeros.begin(), zeros.end(), [](int8_t zero) { return zero != 0; })) return false;
    }
  }
  return true;
}

// The dtype that the weight dequantizes to: that of its grid.
Dtype GridDtype(const std::vector<TensorPlan>& stored, Dtype otherwise) {
  for (const TensorPlan& tensor : stored) {
    if (IsWide(tensor.dtype)) return tensor.dtype;
  }
  return otherwise;
}

}  // namespace

absl::StatusOr<ConversionPlan> PlanConversion(const SourceCheckpoint& source, const std::string& format) {
  const std::string from = FormatName(source.quantization);
  ConversionPlan plan;
  plan.target = FindLinearFormat(format);
  if (format.empty() || (plan.target == nullptr && format != "dense")) {
    return Refuse(absl::StrCat("the format must be compressed-tensors, gptq, awq or dense, not ", format));
  }
  if (from == format) return Refuse(absl::StrCat("the checkpoint is in the ", format, " format already"));
  if (from == "dense") {
    return Refuse(
        absl::StrCat("the checkpoint is dense: there are no codes to move. `calipress run` quantizes it, with "
                     "output.format ",
                     format));
  }
  if (from == "spqr" && plan.target != nullptr) {
    return Refuse(
        absl::StrCat("spqr has scales of two levels and outliers, which ", format, " cannot hold; choose dense"));
  }
  CALIPRESS_ASSIGN_OR_RETURN(const bool symmetric, IsSymmetricThroughout(source));
  Misfits misfits;
  std::vector<QuantizedModule> quantized;
  std::vector<std::string> dense = {std::string(arch::HeadModule(source.spec))};
  std::set<std::string> replaced;
  std::vector<std::vector<TensorPlan>> blocks(source.spec.blocks);
  const auto stored = [&](Dtype dtype) {
    return plan.target != nullptr && plan.target->holds_f16() && IsFloating(dtype) ? Dtype::kF16 : dtype;
  };
  for (int64_t block = 0; block < source.spec.blocks; ++block) {
    std::map<std::string, std::vector<TensorPlan>> becomes;  // by the weight's name
    for (const arch::LinearSpec& linear : arch::BlockLinears(source.spec, block)) {
      const QuantizationScheme* scheme = source.quantization.SchemeOf(linear.module);
      if (scheme == nullptr && source.quantization.SpqrSchemeOf(linear.module) == nullptr) {
        dense.push_back(linear.module);
        continue;
      }
      LinearMove move{linear, scheme == nullptr ? QuantizationScheme() : scheme->Normalized(), false};
      const auto held = StoredTensors(*source.reader, source.quantization, linear, source.spec.dtype);
      for (const TensorPlan& tensor : held) replaced.insert(tensor.name);
      const Dtype dtype = GridDtype(held, source.spec.dtype);
      auto& tensors = becomes[linear.module + ".weight"];
      if (plan.target == nullptr) {
        plan.drops_activations |= move.scheme.activations != Activations::kNone;
        tensors = {{linear.module + ".weight", dtype, {linear.out, linear.in}}};
      } else {
        move.drops_zeros = symmetric && !move.scheme.symmetric;
        move.scheme.symmetric |= symmetric;
        for (const Misfit& misfit : plan.target->SchemeMisfits(move.scheme)) misfits.Add(misfit.why);
        const std::string shape = plan.target->ShapeMisfit(move.scheme, linear.out, linear.in);
        if (!shape.empty()) misfits.Add(absl::StrCat(linear.module, ": ", shape));
        quantized.push_back({linear.module, move.scheme});
        tensors = plan.target->Plan(linear.module, linear.out, linear.in, move.scheme, dtype);
      }
      for (const TensorPlan& tensor : tensors) plan.module_of[tensor.name] = linear.module;
      plan.moves[linear.module] = std::move(move);
    }
    for (const arch::TensorSpec& tensor : arch::BlockTensors(source.spec, block)) {
      const auto found = becomes.find(tensor.name);
      if (found != becomes.end()) {
        blocks[block].insert(blocks[block].end(), found->second.begin(), found->second.end());
        continue;
      }
      const TensorInfo* info = source.reader->Find(tensor.name);
      if (info == nullptr || info->shape != tensor.shape) {
        return PreconditionError(reason::kSourceModelCorrupt, absl::StrCat("tensor ", tensor.name,
                                                                           " is missing or misshapen; config.json says "
                                                                           "that the model has it"));
      }
      blocks[block].push_back({tensor.name, stored(info->dtype), tensor.shape});
    }
  }
  if (plan.target != nullptr) misfits.Add(plan.target->ModelMisfit(quantized, dense));
  CALIPRESS_RETURN_IF_ERROR(misfits.Status(from, format));
  if (plan.target != nullptr) {
    CALIPRESS_ASSIGN_OR_RETURN(plan.config, plan.target->Config(source.config_json, quantized, dense));
  } else {
    CALIPRESS_ASSIGN_OR_RETURN(plan.config, QuantizedConfig(source.config_json, {}, {}));
  }
  plan.shards = PlanShards(source.spec, *source.reader, blocks, kDefaultShardBytes, stored, replaced);
  return plan;
}

}  // namespace calipress::checkpoint
