#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "absl/strings/str_cat.h"
#include "compress/checkpoint/formats/linear_format.h"
#include "compress/recipe/n_of_m.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/pattern.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

std::string SchemeText(const std::optional<checkpoint::QuantizationScheme>& scheme) {
  if (!scheme) return "dense";
  using checkpoint::Activations;
  using checkpoint::Strategy;
  const Strategy strategy = scheme->Normalized().strategy;
  return absl::StrCat(scheme->type == checkpoint::NumberType::kFloat ? "float, " : "", scheme->bits, " bits, ",
                      strategy == Strategy::kChannel  ? "one group per channel"
                      : strategy == Strategy::kTensor ? "one scale"
                      : strategy == Strategy::kBlock  ? "blocks"
                                                      : absl::StrCat("groups of ", scheme->group_size),
                      scheme->symmetric ? ", symmetric" : ", asymmetric",
                      scheme->activations == Activations::kDynamic  ? ", dynamic activations"
                      : scheme->activations == Activations::kStatic ? ", static activations"
                                                                    : "");
}

// " (and 3 more)", or nothing.
std::string AndMore(size_t more) { return more == 0 ? "" : absl::StrCat(" (and ", more, " more)"); }

// The steps of a recipe against the linears of a model.
class ModelCheck {
 public:
  ModelCheck(const v1::Recipe& recipe, const arch::ArchSpec& spec) : recipe_(recipe), spec_(spec) {
    for (const v1::Step& step : recipe.steps()) {
      targets_.push_back(CompilePatterns(TargetsOrDefault(step.targets())));
      ignores_.push_back(CompilePatterns(IgnoreOrDefault(step.ignore())));
    }
    const StepTable table(recipe);
    for (int64_t block = 0; block < spec.blocks; ++block) {
      blocks_.push_back(arch::BlockLinears(spec, block));
      for (const arch::LinearSpec& linear : blocks_.back()) steps_of_[linear.module] = table.StepsFor(linear.module);
    }
  }

  std::vector<FieldViolation> Run(const std::string& path) {
    for (int i = 0; i < recipe_.steps_size(); ++i) {
      const std::string step = absl::StrCat(path, ".steps[", i, "]");
      const size_t before = violations_.size();
      CheckTargets(i, step);
      CheckIgnore(i, step);
      CheckHead(i, step);
      CheckGroups(i, step, /*clean=*/violations_.size() == before);
      CheckBlocks(i, step);
      CheckRuns(i, step);
      CheckRunsInGroups(i, step);
      CheckPrunedSpqr(i, step);
      CheckSmoothed(i, step);
      CheckJoint(i, step);
    }
    if (recipe_.steps_size() > 0) {
      CheckFused(path, {arch::Role::kQuery, arch::Role::kKey, arch::Role::kValue});
      CheckFused(path, {arch::Role::kGate, arch::Role::kUp});
    }
    CheckFormat(path);
    CheckLengths(path);
    return std::move(violations_);
  }

 private:
  void Refuse(std::string field, std::string description) {
    violations_.push_back({std::move(field), std::move(description)});
  }

  bool Acts(int index, const std::string& module) const {
    const std::vector<int>& steps = steps_of_.at(module);
    return std::find(steps.begin(), steps.end(), index) != steps.end();
  }

  // The grid that a linear ends with; none where nothing quantizes it.
  std::optional<checkpoint::QuantizationScheme> FinalScheme(const std::string& module) const {
    const std::vector<int>& steps = steps_of_.at(module);
    if (steps.empty() || !Quantizes(recipe_.steps(steps.back()))) return std::nullopt;
    return SchemeOf(recipe_.steps(steps.back()));
  }

  bool MatchesALinear(const Pattern& pattern) const {
    return std::any_of(steps_of_.begin(), steps_of_.end(),
                       [&](const auto& item) { return pattern.Matches(item.first); });
  }

  std::string ExampleModule() const {
    return blocks_.empty() || blocks_[0].empty() ? ""
                                                 : absl::StrCat("; its linears are like '", blocks_[0][0].module, "'");
  }

  void CheckTargets(int index, const std::string& path) {
    const PatternTexts& texts = TargetsOrDefault(recipe_.steps(index).targets());
    for (size_t i = 0; i < targets_[index].size(); ++i) {
      if (MatchesALinear(targets_[index][i]) || targets_[index][i].Matches(arch::HeadModule(spec_))) continue;
      Refuse(absl::StrCat(path, ".targets[", i, "]"),
             absl::StrCat("'", texts[i], "' matches no linear of the model", ExampleModule()));
    }
  }

  // A path that is nowhere in the model is a typing error, and would quantize what was to stay dense. Expressions may
  // match nothing: recipes carry them from family to family.
  void CheckIgnore(int index, const std::string& path) {
    const PatternTexts& texts = IgnoreOrDefault(recipe_.steps(index).ignore());
    for (size_t i = 0; i < ignores_[index].size(); ++i) {
      const Pattern& pattern = ignores_[index][i];
      if (pattern.kind() != Pattern::Kind::kPath || MatchesALinear(pattern)) continue;
      if (pattern.Matches(arch::HeadModule(spec_))) continue;
      Refuse(absl::StrCat(path, ".ignore[", i, "]"),
             absl::StrCat("'", texts[i], "' is no linear of the model", ExampleModule()));
    }
  }

  void CheckHead(int index, const std::string& path) {
    const std::string_view head = arch::HeadModule(spec_);
    if (!MatchesAny(targets_[index], head) || MatchesAny(ignores_[index], head)) return;
    Refuse(absl::StrCat(path, ".targets"),
           absl::StrCat("match ", std::string(head), ", which cannot be quantized yet; add it to ignore"));
  }

  // Group sizes divide the inputs of every linear that the step acts on. `clean`: nothing else explains a step that
  // acts on none.
  void CheckGroups(int index, const std::string& path, bool clean) {
    checkpoint::QuantizationScheme scheme = SchemeOf(recipe_.steps(index));
    if (recipe_.steps(index).has_spqr()) scheme.group_size = recipe_.steps(index).spqr().group_size();
    int64_t divisor = 0;
    size_t linears = 0;
    std::vector<const arch::LinearSpec*> refused;
    for (const auto& block : blocks_) {
      for (const arch::LinearSpec& linear : block) {
        if (!Acts(index, linear.module)) continue;
        ++linears;
        if (!Quantizes(recipe_.steps(index))) continue;
        divisor = std::gcd(divisor, linear.in);
        if (scheme.group_size > 0 && linear.in % scheme.group_size != 0) refused.push_back(&linear);
      }
    }
    if (linears == 0 && clean) {
      Refuse(path,
             "acts on no linear: ignore or the targets of later steps take all of its own; remove it, or change "
             "them");
    }
    if (refused.empty()) return;
    int64_t largest = std::min(divisor, scheme.group_size);
    while (divisor % largest != 0) --largest;
    const bool joint = recipe_.steps(index).has_sparsegpt();
    Refuse(absl::StrCat(path, ".", MethodName(recipe_.steps(index)), joint ? ".quantize" : "", ".group_size"),
           absl::StrCat(scheme.group_size, " does not divide the ", refused[0]->in, " inputs of ", refused[0]->module,
                        AndMore(refused.size() - 1), "; the largest size up to ", scheme.group_size,
                        " that divides every targeted linear is ", largest,
                        ". Set it, or -1 for one scale per output channel, or ignore these linears"));
  }

  // Blocks of columns divide the inputs of every linear that the step acts on: loaders take none that are cut.
  void CheckBlocks(int index, const std::string& path) {
    if (!Quantizes(recipe_.steps(index))) return;
    if (SchemeOf(recipe_.steps(index)).strategy != checkpoint::Strategy::kBlock) return;
    std::vector<const arch::LinearSpec*> refused;
    for (const auto& block : blocks_) {
      for (const arch::LinearSpec& linear : block) {
        if (Acts(index, linear.module) && linear.in % checkpoint::kBlockSize != 0) refused.push_back(&linear);
      }
    }
    if (refused.empty()) return;
    Refuse(absl::StrCat(path, ".", MethodName(recipe_.steps(index)), ".strategy"),
           absl::StrCat("blocks of ", checkpoint::kBlockSize, " columns do not divide the ", refused[0]->in,
                        " inputs of ", refused[0]->module, AndMore(refused.size() - 1),
                        "; set strategy: channel, or ignore these linears"));
  }

  // SpQR's codes know of no mask.
  void CheckPrunedSpqr(int index, const std::string& path) {
    if (!recipe_.steps(index).has_spqr()) return;
    for (const auto& [module, steps] : steps_of_) {
      if (steps.empty() || steps.back() != index) continue;
      if (std::none_of(steps.begin(), steps.end(), [&](int step) { return Prunes(recipe_.steps(step)); })) continue;
      return Refuse(absl::StrCat(path, ".spqr"), absl::StrCat("cannot keep the zeros of ", module,
                                                              ", which another step prunes; quantize with gptq "
                                                              "or rtn, or prune other linears"));
    }
  }

  // SmoothQuant folds into the norms, which o_proj and down_proj have none of.
  void CheckSmoothed(int index, const std::string& path) {
    if (!recipe_.steps(index).has_smoothquant()) return;
    bool acts = false;
    for (const auto& block : blocks_) {
      for (const arch::LinearSpec& linear : block) {
        if (!Acts(index, linear.module)) continue;
        if (linear.role != arch::Role::kOutput && linear.role != arch::Role::kDown) return;
        acts = true;
      }
    }
    if (!acts) return;
    Refuse(absl::StrCat(path, ".targets"),
           "match none of q, k, v, gate and up_proj, whose inputs are all that smoothquant changes");
  }

  // A sweep that prunes and quantizes does all that can be done to a linear.
  void CheckJoint(int index, const std::string& path) {
    const v1::Step& own = recipe_.steps(index);
    if (!Prunes(own) || !Quantizes(own)) return;
    for (const auto& [module, steps] : steps_of_) {
      if (std::find(steps.begin(), steps.end(), index) == steps.end()) continue;
      for (const int step : steps) {
        const v1::Step& other = recipe_.steps(step);
        if (step == index || (!Prunes(other) && !Quantizes(other))) continue;
        return Refuse(absl::StrCat(path, ".", MethodName(own), ".quantize"),
                      absl::StrCat("prunes and quantizes ", module, " in one sweep, and steps[", step, "] (",
                                   MethodName(other), ") acts on it too; remove one of the two, or ignore the linear"));
      }
    }
  }

  // Runs of an N:M pattern divide the inputs of every linear that the step prunes.
  void CheckRuns(int index, const std::string& path) {
    const auto pattern = ParseNOfM(PatternOf(recipe_.steps(index)));
    if (!pattern) return;
    std::vector<const arch::LinearSpec*> refused;
    for (const auto& block : blocks_) {
      for (const arch::LinearSpec& linear : block) {
        if (Acts(index, linear.module) && linear.in % pattern->of != 0) refused.push_back(&linear);
      }
    }
    if (refused.empty()) return;
    Refuse(absl::StrCat(path, ".", MethodName(recipe_.steps(index)), ".pattern"),
           absl::StrCat("runs of ", pattern->of, " do not divide the ", refused[0]->in, " inputs of ",
                        refused[0]->module, AndMore(refused.size() - 1), "; choose an M that does, or ignore these"));
  }

  // Groups hold whole runs of the pattern that a linear was pruned by: what a group's scale, and the compensation of
  // its columns, is about does not end within a run.
  void CheckRunsInGroups(int index, const std::string& path) {
    const v1::Step& own = recipe_.steps(index);
    if (!Quantizes(own) || own.has_spqr()) return;
    const checkpoint::QuantizationScheme scheme = SchemeOf(own);
    if (scheme.Normalized().strategy != checkpoint::Strategy::kGroup) return;
    for (const auto& [module, steps] : steps_of_) {
      if (std::find(steps.begin(), steps.end(), index) == steps.end()) continue;
      for (const int step : steps) {
        const std::string pattern = PatternOf(recipe_.steps(step));
        const auto runs = ParseNOfM(pattern);
        if (!runs || scheme.group_size % runs->of == 0) continue;
        return Refuse(
            absl::StrCat(path, ".", MethodName(own), own.has_sparsegpt() ? ".quantize" : "", ".group_size"),
            absl::StrCat("groups of ", scheme.group_size, " columns cut the runs of ", runs->of, " that steps[", step,
                         "] (", MethodName(recipe_.steps(step)), " ", pattern, ") prunes ", module,
                         " by; give a multiple of ", runs->of, ", or -1 for one scale per output channel"));
      }
    }
  }

  // Loaders fuse q, k, v into one linear, and gate, up: one scheme or dense together.
  void CheckFused(const std::string& path, const std::vector<arch::Role>& roles) {
    struct Found {
      std::string text;
      size_t blocks = 0;
    };
    std::optional<Found> found;
    for (const auto& block : blocks_) {
      std::vector<std::string> parts;
      bool same = true;
      std::optional<std::optional<checkpoint::QuantizationScheme>> first;
      for (const arch::LinearSpec& linear : block) {
        if (std::find(roles.begin(), roles.end(), linear.role) == roles.end()) continue;
        const std::optional<checkpoint::QuantizationScheme> scheme = FinalScheme(linear.module);
        if (!first) first = scheme;
        same = same && *first == scheme;
        parts.push_back(absl::StrCat(linear.module, ": ", SchemeText(scheme)));
      }
      if (same) continue;
      if (!found) {
        found.emplace();
        for (const std::string& part : parts) absl::StrAppend(&found->text, found->text.empty() ? "" : ", ", part);
      }
      ++found->blocks;
    }
    if (!found) return;
    Refuse(absl::StrCat(path, ".steps"),
           absl::StrCat("linears that loaders fuse must have one scheme or all be dense: ", found->text,
                        AndMore(found->blocks - 1), ". Target or ignore them together"));
  }

  // What the output's format cannot hold of these linears.
  void CheckFormat(const std::string& path) {
    const auto* format = checkpoint::FindLinearFormat(recipe_.output().format());
    if (format == nullptr) return;
    std::vector<checkpoint::QuantizedModule> quantized;
    std::vector<std::string> dense = {std::string(arch::HeadModule(spec_))};
    std::string misshapen;
    size_t count = 0;
    for (const auto& block : blocks_) {
      for (const arch::LinearSpec& linear : block) {
        const auto scheme = FinalScheme(linear.module);
        if (!scheme) {
          dense.push_back(linear.module);
          continue;
        }
        quantized.push_back({linear.module, *scheme});
        const std::string why = format->ShapeMisfit(*scheme, linear.out, linear.in);
        if (!why.empty() && ++count == 1) misshapen = absl::StrCat(linear.module, ": ", why);
      }
    }
    if (count > 0) {
      Refuse(absl::StrCat(path, ".output.format"),
             absl::StrCat(misshapen, AndMore(count - 1), "; give compressed-tensors, or ignore these linears"));
    }
    if (const std::string why = format->ModelMisfit(quantized, dense); !quantized.empty() && !why.empty()) {
      Refuse(absl::StrCat(path, ".steps"), why);
    }
  }

  void CheckLength(const std::string& path, int64_t length) {
    if (length <= spec_.max_positions) return;
    Refuse(path, absl::StrCat(length, " is more than the ", spec_.max_positions,
                              " positions of the model (max_position_embeddings); give at most that"));
  }

  void CheckLengths(const std::string& path) {
    CheckLength(absl::StrCat(path, ".calibration.sequence_length"), recipe_.calibration().sequence_length());
    CheckGeneratedForModel(recipe_, spec_.max_positions, path,
                           [this](std::string field, std::string what) { Refuse(std::move(field), std::move(what)); });
    for (int i = 0; i < recipe_.evaluation().perplexity_size(); ++i) {
      CheckLength(absl::StrCat(path, ".evaluation.perplexity[", i, "].sequence_length"),
                  recipe_.evaluation().perplexity(i).sequence_length());
    }
  }

  const v1::Recipe& recipe_;
  const arch::ArchSpec& spec_;
  std::vector<std::vector<Pattern>> targets_;
  std::vector<std::vector<Pattern>> ignores_;
  std::vector<std::vector<arch::LinearSpec>> blocks_;
  std::map<std::string, std::vector<int>, std::less<>> steps_of_;  // by module
  std::vector<FieldViolation> violations_;
};

}  // namespace

std::vector<FieldViolation> ValidateForModel(const v1::Recipe& recipe, const arch::ArchSpec& spec,
                                             std::string_view prefix) {
  const std::string path(prefix);
  std::vector<FieldViolation> violations = ModelCheck(recipe, spec).Run(path);
  if (!recipe.has_study()) return violations;
  for (FieldViolation& violation :
       OfStudyParts(recipe, path, [&](const v1::Recipe& run) { return ModelCheck(run, spec).Run(path); })) {
    violations.push_back(std::move(violation));
  }
  return violations;
}

}  // namespace calipress::recipe
