#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calipress/v1/recipe.pb.h"
#include "compress/arch/arch.h"
#include "compress/base/error.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/spqr_layout.h"

namespace calipress::recipe {

// A recipe from YAML in the proto's field names; the proto's descriptors are the schema, and a field decides the type
// of its value (`name: 123` is text). Enum values may be short and lower case: `propagation: original`. Untrusted text.
// INVALID_RECIPE with every violation and its line, unknown fields with the nearest known name.
absl::StatusOr<v1::Recipe> ParseYaml(std::string_view yaml);

// Sets one field by its path: "steps[0].gptq.group_size=64", "calibration.samples=32". The value is YAML; an empty one
// clears the field; text fields take unquoted text as it is. An index one past the end of a list appends. On an error
// the recipe stays as it was.
absl::Status ApplySet(std::string_view assignment, v1::Recipe* recipe);

// Every violation that the message alone shows, field paths starting with `prefix` ("recipe").
std::vector<FieldViolation> Validate(const v1::Recipe& recipe, bool has_output, std::string_view prefix);

// Fills in every default that depends on nothing or on the model. With a token_ids source, `samples`, `sequence_length`
// and hence `micro_batch` stay unset where the recipe leaves them open: the file's shape decides (DefaultMicroBatch).
v1::Recipe Resolve(const v1::Recipe& recipe, const arch::ArchSpec& spec);

// The output format of a recipe that names none.
std::string DefaultFormat(const v1::Recipe& recipe);

// Sequences forwarded together where the recipe does not say: as many as make about 1024 tokens, at least 1.
int32_t DefaultMicroBatch(int64_t sequence_length);

// Violations that show against the model: group sizes that do not divide (with the largest size that does), targets
// that match nothing, steps that act on nothing, the head as a target, q/k/v or gate/up in different schemes (loaders
// fuse them), lengths beyond the model's positions. `recipe` is resolved.
std::vector<FieldViolation> ValidateForModel(const v1::Recipe& recipe, const arch::ArchSpec& spec,
                                             std::string_view prefix);

// Methods of the schema that this version has, by their fields in a step. Validate refuses the others.
std::vector<std::string> AvailableMethods();

// What a step does to a linear. AWQ both transforms and quantizes; a joint SparseGPT sweep prunes and quantizes.
bool Transforms(const v1::Step& step);
bool Prunes(const v1::Step& step);
// The N:M text of a step that prunes; empty: unstructured, or it does not prune.
std::string PatternOf(const v1::Step& step);
// The share that it removes: the pattern's where it has one, the default where it has neither; 0: it does not prune.
double SparsityOf(const v1::Step& step);
bool Quantizes(const v1::Step& step);

// The steps that act on a linear, in the order in which they act: those that only transform, the last that prunes, the
// last that quantizes. Empty: the linear stays as it is.
std::vector<int> StepsFor(const v1::Recipe& recipe, std::string_view module);

// The same with the recipe's patterns compiled once: models have hundreds of linears.
class StepTable {
 public:
  explicit StepTable(const v1::Recipe& recipe);
  ~StepTable();
  std::vector<int> StepsFor(std::string_view module) const;

 private:
  struct Entry;
  std::vector<Entry> entries_;
};

// The integer or float scheme that a linear ends with in the result; none where no step quantizes it, where SpQR does,
// or where the output is dense.
std::optional<checkpoint::QuantizationScheme> SchemeFor(const v1::Recipe& recipe, std::string_view module);

// SpQR's scheme, likewise.
std::optional<checkpoint::SpqrScheme> SpqrSchemeFor(const v1::Recipe& recipe, std::string_view module);

// True where `module` matches one of the patterns: "Linear", an exact path, or "re:<regex>" anchored at the start.
// (Invalid expressions are violations in Validate and match nothing here.)
bool MatchesAny(const google::protobuf::RepeatedPtrField<std::string>& patterns, std::string_view module);

// True where the step's method takes statistics of activations, hence needs calibration tokens.
bool NeedsStatistics(const v1::Step& step);
// Whether the recipe measures anything.
bool Evaluates(const v1::Recipe& recipe);

// The tensors that hold a linear's weight in the result, in the order they are written: "<module>.weight" in `dtype`
// where no step quantizes it or the output's format is dense, what the format makes of it elsewhere. `outliers`: how
// many SpQR kept, which shows only when the linear is solved.
std::vector<checkpoint::TensorPlan> LinearTensors(const v1::Recipe& recipe, const arch::LinearSpec& linear, Dtype dtype,
                                                  int64_t outliers = 0);

// The dtype that a tensor of the source in `source` has in the result, where it is no codes: F16 for floating ones
// where the output's format holds nothing else. Also what the job computes in.
Dtype StoredDtype(const v1::Recipe& recipe, Dtype source);

// The scheme that a step gives; only for steps that quantize. Of SpQR it has the bits and the groups of weights alone.
checkpoint::QuantizationScheme SchemeOf(const v1::Step& step);
// What is left open by a step that says this much.
checkpoint::QuantizationScheme DefaultScheme(v1::NumberType type, v1::Strategy strategy, v1::Activations activations);
// Of an SpQR step; unset options are the defaults.
checkpoint::SpqrScheme SpqrSchemeOf(const v1::Spqr& spqr);

// The name used in reports and metrics, which is the step's field in the recipe: "gptq", "rtn", "none".
std::string MethodName(const v1::Step& step);

// Whether the step asks for {q,k,v} -> {o} -> {gate,up} -> {down}, each on compressed predecessors.
bool IsTrueSequential(const v1::Step& step);

// Presets compiled in from deploy/recipes.
struct Preset {
  std::string name;
  std::string summary;  // the first comment line of the file
  std::string yaml;
};
const std::vector<Preset>& Presets();

}  // namespace calipress::recipe
