#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compress/recipe/method_checks.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/pattern.h"
#include "compress/recipe/recipe.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/unknown_field_set.h"

namespace calipress::recipe {
namespace {

// Bounds that keep a request from costing much before it is queued; far above any use.
constexpr int kMaxSteps = 32;
constexpr int kMaxPatterns = 256;
// What the sweep of SpQR holds in registers (compress/method/quantize/spqr/sweep.h).
constexpr int kMaxSpqrGroup = 128;
constexpr int kMaxSpqrRun = 128;

class Validator {
 public:
  Validator(const v1::Recipe& recipe, bool has_output) : recipe_(recipe), has_output_(has_output) {}

  std::vector<FieldViolation> Run(const std::string& path) {
    CheckUnknown(path, recipe_);
    CheckShape(path);
    if (!v1::Propagation_IsValid(recipe_.propagation())) {
      Refuse(absl::StrCat(path, ".propagation"), "must be compressed or original");
    }
    if (!v1::Sharding_IsValid(recipe_.sharding())) {
      Refuse(absl::StrCat(path, ".sharding"), "must be layers or samples");
    }
    if (recipe_.steps_size() > kMaxSteps) {
      Refuse(absl::StrCat(path, ".steps"), absl::StrCat("at most ", kMaxSteps, " steps"));
    } else {
      for (int i = 0; i < recipe_.steps_size(); ++i) CheckStep(absl::StrCat(path, ".steps[", i, "]"), recipe_.steps(i));
    }
    CheckOrder(path);
    CheckCalibration(recipe_, absl::StrCat(path, ".calibration"), Refusing());
    CheckOutputFormat(recipe_, path, Refusing());
    CheckOutput(absl::StrCat(path, ".output"));
    CheckEvaluation(recipe_, absl::StrCat(path, ".evaluation"), Refusing());
    CheckStudy(recipe_, absl::StrCat(path, ".study"), Refusing());
    return std::move(violations_);
  }

 private:
  void Refuse(std::string field, std::string description) {
    violations_.push_back({std::move(field), std::move(description)});
  }

  recipe::Refuse Refusing() {
    return [this](std::string field, std::string description) { Refuse(std::move(field), std::move(description)); };
  }

  // Fields that a newer client knows and this program does not would be ignored without a word.
  void CheckUnknown(const std::string& path, const google::protobuf::Message& message) {
    const auto* reflection = message.GetReflection();
    if (!reflection->GetUnknownFields(message).empty()) {
      Refuse(path, "has fields that this version does not know; use a newer server, or an older client");
    }
    std::vector<const google::protobuf::FieldDescriptor*> fields;
    reflection->ListFields(message, &fields);
    for (const auto* field : fields) {
      if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
      const std::string inner = absl::StrCat(path, ".", field->name());
      if (!field->is_repeated()) {
        CheckUnknown(inner, reflection->GetMessage(message, field));
        continue;
      }
      for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
        CheckUnknown(absl::StrCat(inner, "[", i, "]"), reflection->GetRepeatedMessage(message, field, i));
      }
    }
  }

  // What the job is: one with steps and an output, or one that evaluates.
  void CheckShape(const std::string& path) {
    if (recipe_.has_study()) {
      if (!has_output_) Refuse(path, "a study needs an output, for its tables and what study.keep names; give one");
      return;
    }
    if (has_output_) {
      if (recipe_.steps_size() == 0) {
        Refuse(absl::StrCat(path, ".steps"),
               "a job with an output needs at least one step; leave the output away to only evaluate");
      }
      return;
    }
    if (recipe_.steps_size() > 0) {
      Refuse(absl::StrCat(path, ".steps"),
             "a job with steps needs an output; give one, or remove the steps to only "
             "evaluate");
    }
    if (!Evaluates(recipe_)) {
      Refuse(absl::StrCat(path, ".evaluation"),
             "a job without an output only evaluates, and needs at least one entry in evaluation.perplexity, "
             "evaluation.multiple_choice or evaluation.last_word");
    }
  }

  void CheckPatterns(const std::string& path, const PatternTexts& texts) {
    if (texts.size() > kMaxPatterns) return Refuse(path, absl::StrCat("at most ", kMaxPatterns, " patterns"));
    for (int i = 0; i < texts.size(); ++i) {
      const Pattern pattern(texts[i]);
      if (!pattern.error().empty()) Refuse(absl::StrCat(path, "[", i, "]"), pattern.error());
    }
  }

  template <typename Method>
  void CheckScheme(const std::string& path, const Method& method) {
    const int bits = method.bits();
    if (method.has_bits() && bits != 2 && bits != 3 && bits != 4 && bits != 8) {
      Refuse(absl::StrCat(path, ".bits"), absl::StrCat("must be 2, 3, 4 or 8, not ", bits));
    }
    if (method.has_group_size() && method.group_size() != -1 && method.group_size() < 1) {
      Refuse(absl::StrCat(path, ".group_size"),
             absl::StrCat("must be a positive number of columns, or -1 for one scale per output channel, not ",
                          method.group_size()));
    }
  }

  void CheckOnNumericFailure(const std::string& path, v1::OnNumericFailure value) {
    if (v1::OnNumericFailure_IsValid(value)) return;
    Refuse(absl::StrCat(path, ".on_numeric_failure"), "must be fallback or fail");
  }

  void CheckSpqr(const std::string& path, const v1::Spqr& spqr) {
    const auto check = [&](const char* field, bool has, double value, double least, double most) {
      if (!has || (value >= least && value <= most)) return;
      Refuse(absl::StrCat(path, ".", field), absl::StrCat("must be ", least, " to ", most, ", not ", value));
    };
    check("bits", spqr.has_bits(), spqr.bits(), 2, 4);
    if (spqr.has_group_size() &&
        (spqr.group_size() < 8 || spqr.group_size() > kMaxSpqrGroup || spqr.group_size() % 8)) {
      Refuse(absl::StrCat(path, ".group_size"),
             absl::StrCat("must be a multiple of 8, at most ", kMaxSpqrGroup, ", not ", spqr.group_size()));
    }
    const int run = spqr.scale_group_size();
    if (spqr.has_scale_group_size() && (run < 1 || run > kMaxSpqrRun || (run & (run - 1)) != 0)) {
      Refuse(absl::StrCat(path, ".scale_group_size"),
             absl::StrCat("must be a power of two, at most ", kMaxSpqrRun, ", not ", run));
    }
    check("scale_bits", spqr.has_scale_bits(), spqr.scale_bits(), 1, 8);
    check("zero_bits", spqr.has_zero_bits(), spqr.zero_bits(), 1, 8);
    check("outlier_threshold", spqr.has_outlier_threshold(), spqr.outlier_threshold(), 0, 1e6);
    if (spqr.has_damping() && !(spqr.damping() > 0 && spqr.damping() <= 100)) {
      Refuse(absl::StrCat(path, ".damping"), absl::StrCat("must be above 0 and at most 100, not ", spqr.damping()));
    }
    CheckOnNumericFailure(path, spqr.on_numeric_failure());
    if (!v1::Observer_IsValid(spqr.observer())) Refuse(absl::StrCat(path, ".observer"), "must be minmax or mse");
  }

  void CheckGptq(const std::string& path, const v1::Gptq& gptq) {
    CheckScheme(path, gptq);
    CheckGrid(gptq, path, Refusing());
    // 0 is refused although GPTQ runs without damping: the ladder that climbs by tens where the factorization fails
    // would stay at 0.
    if (gptq.has_damping() && !(gptq.damping() > 0 && gptq.damping() <= 1)) {
      Refuse(absl::StrCat(path, ".damping"),
             absl::StrCat("must be above 0 and at most 1, not ", gptq.damping(),
                          "; it is a share of the Hessian's mean diagonal (for nearly none, 1e-6)"));
    }
    if (gptq.has_block_size() && (gptq.block_size() < 16 || gptq.block_size() > 4096)) {
      Refuse(absl::StrCat(path, ".block_size"), absl::StrCat("must be 16 to 4096, not ", gptq.block_size()));
    }
    CheckOnNumericFailure(path, gptq.on_numeric_failure());
  }

  void CheckStep(const std::string& path, const v1::Step& step) {
    CheckPatterns(absl::StrCat(path, ".targets"), step.targets());
    CheckPatterns(absl::StrCat(path, ".ignore"), step.ignore());
    switch (step.method_case()) {
      case v1::Step::kRtn:
        CheckScheme(absl::StrCat(path, ".rtn"), step.rtn());
        return CheckGrid(step.rtn(), absl::StrCat(path, ".rtn"), Refusing());
      case v1::Step::kGptq:
        return CheckGptq(absl::StrCat(path, ".gptq"), step.gptq());
      case v1::Step::kSpqr:
        return CheckSpqr(absl::StrCat(path, ".spqr"), step.spqr());
      case v1::Step::kMagnitude:
        return CheckMagnitude(recipe_, step, absl::StrCat(path, ".magnitude"), Refusing());
      case v1::Step::kWanda:
        return CheckWanda(recipe_, step, absl::StrCat(path, ".wanda"), Refusing());
      case v1::Step::kAwq:
        return CheckAwq(recipe_, step, absl::StrCat(path, ".awq"), Refusing());
      case v1::Step::kSmoothquant:
        return CheckSmoothQuant(recipe_, step, absl::StrCat(path, ".smoothquant"), Refusing());
      case v1::Step::kSparsegpt:
        return CheckSparseGpt(recipe_, step, absl::StrCat(path, ".sparsegpt"), Refusing());
      case v1::Step::kDsnot:
        return CheckDsnot(recipe_, step, absl::StrCat(path, ".dsnot"), Refusing());
      case v1::Step::METHOD_NOT_SET:
        return Refuse(path, "has no method; add one, like gptq: {bits: 4}");
    }
  }

  // A step that transforms changes a block once it has the statistics of all its inputs.
  void CheckOrder(const std::string& path) {
    const auto transforms = std::find_if(recipe_.steps().begin(), recipe_.steps().end(), Transforms);
    const bool original = recipe_.propagation() == v1::PROPAGATION_ORIGINAL;
    for (int i = 0; i < recipe_.steps_size(); ++i) {
      const v1::Step& step = recipe_.steps(i);
      if (!IsTrueSequential(step)) continue;
      const std::string field = absl::StrCat(path, ".steps[", i, "].", MethodName(step), ".true_sequential");
      if (original) {
        Refuse(field,
               "is not possible with propagation: original, which shows every linear the original activations; set "
               "one of the two otherwise");
      }
      if (transforms != recipe_.steps().end()) {
        Refuse(field, absl::StrCat("is not possible with ", MethodName(*transforms),
                                   ", which takes the statistics of a whole block before it changes it; remove it"));
      }
    }
  }

  void CheckImatrix(const std::string& path) {
    if (!recipe_.output().imatrix()) return;
    if (recipe_.steps_size() == 0) return Refuse(path, "is of jobs with steps: it is written beside their checkpoint");
    if (recipe_.calibration().sources_size() == 0) {
      Refuse(path, "takes sums over calibration text, and the recipe names none; give it with --calibration URI");
    }
  }

  void CheckOutput(const std::string& path) {
    const v1::Output& output = recipe_.output();
    CheckImatrix(absl::StrCat(path, ".imatrix"));
    if (output.has_max_shard_bytes() && output.max_shard_bytes() < 1) {
      Refuse(absl::StrCat(path, ".max_shard_bytes"), "must be at least 1");
    }
  }

  const v1::Recipe& recipe_;
  bool has_output_;
  std::vector<FieldViolation> violations_;
};

}  // namespace

std::vector<FieldViolation> Validate(const v1::Recipe& recipe, bool has_output, std::string_view prefix) {
  const std::string path(prefix);
  std::vector<FieldViolation> violations = Validator(recipe, has_output).Run(path);
  if (!recipe.has_study()) return violations;
  for (FieldViolation& violation :
       OfStudyParts(recipe, path, [&](const v1::Recipe& run) { return Validator(run, has_output).Run(path); })) {
    const bool known = std::any_of(violations.begin(), violations.end(), [&](const FieldViolation& other) {
      return other.field == violation.field && other.description == violation.description;
    });
    if (!known) violations.push_back(std::move(violation));
  }
  return violations;
}

}  // namespace calipress::recipe
