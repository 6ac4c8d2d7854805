// Numbers, strategy and activations of RTN and GPTQ: what some loader takes.
#include "absl/strings/str_cat.h"
#include "compress/recipe/method_checks.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

using checkpoint::Strategy;

template <typename Method>
class GridCheck {
 public:
  GridCheck(const Method& method, const std::string& path, const recipe::Refuse& refuse)
      : method_(method),
        path_(path),
        refuse_(refuse),
        floats_(method.type() == v1::NUMBER_TYPE_FLOAT),
        strategy_(StrategyOf(method)) {}

  void Run() {
    if (!CheckEnums()) return;
    CheckStrategy();
    if (floats_) CheckFloats();
    CheckActivations();
  }

 private:
  // As the step will be resolved.
  static Strategy StrategyOf(const Method& method) {
    const auto scheme = DefaultScheme(method.type(), method.strategy(), method.activations());
    if (method.strategy() != v1::STRATEGY_UNSPECIFIED || !method.has_group_size()) return scheme.strategy;
    return method.group_size() < 0 ? Strategy::kChannel : Strategy::kGroup;
  }

  void Refuse(const char* field, std::string description) {
    refuse_(absl::StrCat(path_, ".", field), std::move(description));
  }

  bool CheckEnums() {
    const auto check = [&](bool right, const char* field, const char* values) {
      if (!right) Refuse(field, absl::StrCat("must be ", values));
      return right;
    };
    const bool type = check(v1::NumberType_IsValid(method_.type()), "type", "int or float");
    const bool strategy =
        check(v1::Strategy_IsValid(method_.strategy()), "strategy", "group, channel, tensor or block");
    const bool activations =
        check(v1::Activations_IsValid(method_.activations()), "activations", "none, dynamic or static");
    return check(v1::Observer_IsValid(method_.observer()), "observer", "minmax or mse") && type && strategy &&
           activations;
  }

  void CheckStrategy() {
    const bool groups = method_.has_group_size() && method_.group_size() > 0;
    if (groups && (floats_ || strategy_ != Strategy::kGroup)) {
      Refuse("group_size", floats_ ? "floats are not in groups; remove it, or set strategy: block (128 x 128)"
                                   : "is for strategy: group; remove one of the two");
    } else if (method_.has_group_size() && method_.group_size() == -1 && method_.strategy() == v1::STRATEGY_GROUP) {
      Refuse("group_size", "is -1, and strategy: group needs the columns of a group; remove one of the two");
    }
    if (floats_ && method_.strategy() == v1::STRATEGY_GROUP) {
      Refuse("strategy", "must be channel, tensor or block for floats");
    } else if (!floats_ && strategy_ == Strategy::kBlock) {
      Refuse("strategy", "block is for floats; set type: float, or strategy: group");
    } else if (!floats_ && strategy_ == Strategy::kTensor && !Quantized()) {
      Refuse("strategy",
             "tensor is for quantized activations: loaders take integer weights alone in groups or channels; set "
             "activations, or strategy: channel");
    }
  }

  void CheckFloats() {
    if (method_.has_bits() && method_.bits() != 8) {
      Refuse("bits", absl::StrCat("must be 8 for floats (E4M3), not ", method_.bits()));
    }
    if (method_.has_symmetric() && !method_.symmetric())
      Refuse("symmetric", "must be true: floats have no zero points");
  }

  void CheckActivations() {
    if (!Quantized() || floats_) {
      if (Quantized() && strategy_ == Strategy::kBlock && method_.activations() == v1::ACTIVATIONS_STATIC) {
        Refuse("activations", "must be none or dynamic for strategy: block");
      }
      return;
    }
    const int bits = method_.has_bits() ? method_.bits() : checkpoint::QuantizationScheme().bits;
    if (bits == 8 && strategy_ == Strategy::kGroup) {
      Refuse(method_.has_group_size() ? "group_size" : "strategy",
             "8-bit weights under quantized activations have one scale per channel or tensor; set strategy: channel");
    } else if (bits == 4 && (method_.activations() == v1::ACTIVATIONS_STATIC || strategy_ == Strategy::kTensor)) {
      Refuse("activations", "4-bit weights go with dynamic activations, in groups or channels; set bits: 8, or these");
    } else if (bits != 4 && bits != 8) {
      Refuse("activations", absl::StrCat("no loader takes quantized activations with ", bits,
                                         "-bit weights; set "
                                         "bits: 8 (or 4)"));
    }
    if (bits == 4 && method_.has_symmetric() && !method_.symmetric()) {
      Refuse("symmetric", "must be true for 4-bit weights under quantized activations");
    }
  }

  bool Quantized() const {
    return method_.activations() == v1::ACTIVATIONS_DYNAMIC || method_.activations() == v1::ACTIVATIONS_STATIC;
  }

  const Method& method_;
  const std::string& path_;
  const recipe::Refuse& refuse_;
  const bool floats_;
  const Strategy strategy_;
};

}  // namespace

void CheckGrid(const v1::Rtn& options, const std::string& path, const Refuse& refuse) {
  GridCheck(options, path, refuse).Run();
}

void CheckGrid(const v1::Gptq& options, const std::string& path, const Refuse& refuse) {
  GridCheck(options, path, refuse).Run();
}

}  // namespace calipress::recipe
