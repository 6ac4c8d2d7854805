#include "server/api/admission.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/utf8.h"
#include "compress/calibration/instructions_source.h"
#include "compress/calibration/token_ids_source.h"
#include "compress/recipe/calibration_plan.h"
#include "compress/recipe/few_tokens.h"
#include "compress/recipe/loader_warnings.h"
#include "compress/recipe/recipe.h"
#include "compress/recipe/study.h"
#include "compress/recipe/unused_calibration.h"
#include "compress/storage/uri.h"
#include "server/api/estimate.h"
#include "server/api/request_checks.h"
#include "server/api/source_model.h"

namespace calipress::api {
namespace {

constexpr std::string_view kOwnFolder = "_calipress/";

bool UsesText(const v1::Recipe& recipe) {
  return recipe::Evaluates(recipe) || recipe::NeedsTokenizer(recipe.calibration());
}

// The object's path below the folder. The store lists them as the folder was spelled.
std::string Below(const std::string& folder_uri, const std::string& uri) {
  const std::string folder = storage::FolderKey(folder_uri);
  const std::string object = storage::FolderKey(uri);
  return object.starts_with(folder) ? object.substr(folder.size()) : object;
}

absl::Status CheckOutput(storage::ObjectStore& store, const v1::CompressionJob& job) {
  const std::string& output = job.output();
  if (storage::FolderKey(output).starts_with(storage::FolderKey(job.model()))) {
    return ViolationsError(reason::kInvalidRequest, {{"output", "lies in the model's own folder; give another one"}});
  }
  auto info = store.Stat(output);
  if (!info.ok() && !absl::IsNotFound(info.status())) return info.status();
  if (info.ok() && !info->is_folder) {
    return PreconditionError(reason::kOutputExists, absl::StrCat("output ", storage::RedactUri(output),
                                                                 " is a file; give a folder that is empty or new"));
  }
  CALIPRESS_ASSIGN_OR_RETURN(const auto objects, store.List(output));
  for (const storage::ObjectInfo& object : objects) {
    const std::string name = Below(output, object.uri);
    if (name.starts_with(kOwnFolder)) continue;
    return PreconditionError(reason::kOutputExists,
                             absl::StrCat("output ", storage::RedactUri(output), " is not empty (", objects.size(),
                                          " files, ", BoundedText(name.substr(0, name.size() - 1), 100),
                                          " among them); give a folder that is empty or new"));
  }
  return absl::OkStatus();
}

// Instructions of a model that has no chat template, or one that cannot be read.
absl::Status CheckTemplate(storage::ObjectStore& store, const v1::CompressionJob& job,
                           std::vector<FieldViolation>* violations) {
  for (const auto& [field, source] : SourcesOf(job.recipe())) {
    if (!source->has_instructions()) continue;
    const auto made = calibration::OpenChatTemplate(store, job.model());
    if (!made.ok() && ErrorClassOf(made.status()) != ErrorClass::kUser) return made.status();
    if (made.ok()) return absl::OkStatus();
    violations->push_back({absl::StrCat(field, ".instructions"), std::string(made.status().message())});
  }
  return absl::OkStatus();
}

// Texts and token files that are missing or empty.
absl::StatusOr<std::vector<FieldViolation>> CheckData(storage::ObjectStore& store, const v1::CompressionJob& job) {
  std::vector<FieldViolation> violations;
  const v1::Recipe& recipe = job.recipe();
  CALIPRESS_RETURN_IF_ERROR(CheckTemplate(store, job, &violations));
  for (const RecipeUri& uri : UrisOf(recipe)) {
    if (uri.field == "recipe.evaluation.reference") continue;
    auto info = store.Stat(uri.uri);
    const std::string shown = BoundedText(storage::RedactUri(uri.uri), 200);
    if (absl::IsNotFound(info.status())) {
      violations.push_back({uri.field, absl::StrCat("there is no ", shown, " that the coordinator can read")});
    } else if (!info.ok()) {
      return Annotate(info.status(), uri.field);
    } else if (info->is_folder) {
      violations.push_back({uri.field, absl::StrCat(shown, " is a folder; give a file")});
    } else if (info->size == 0) {
      violations.push_back({uri.field, absl::StrCat(shown, " is empty")});
    }
  }
  return violations;
}

absl::Status CheckReference(storage::ObjectStore& store, const std::string& reference, const SourceModel& model) {
  auto other = InspectModel(store, reference);
  if (!other.ok()) return Annotate(other.status(), "recipe.evaluation.reference");
  if (other->spec.vocabulary != model.spec.vocabulary) {
    return PreconditionError(
        reason::kUnsupportedCombination,
        absl::StrCat("the reference has a vocabulary of ", other->spec.vocabulary, ", the model one of ",
                     model.spec.vocabulary, ": their distributions cannot be compared"));
  }
  return absl::OkStatus();
}

// Tokens that will be calibrated with. A token file's own header says how many ids there are; one that is no such file
// is refused here already.
absl::StatusOr<InputSizes> CalibrationSizes(storage::ObjectStore& store, const v1::Calibration& calibration) {
  InputSizes sizes;
  sizes.calibration_length = calibration.sequence_length();
  const std::vector<int64_t> sequences = recipe::SourceSequences(calibration);
  int64_t sum = 0;
  for (int i = 0; i < calibration.sources_size(); ++i) {
    const v1::CalibrationSource& source = calibration.sources(i);
    int64_t given = sequences[i];
    if (source.has_token_ids()) {
      CALIPRESS_ASSIGN_OR_RETURN(const auto shape, calibration::ReadTokenFileShape(store, source.token_ids()));
      sizes.calibration_length = shape.length;
      if (given == recipe::kAllSequences) given = shape.sequences;
    }
    sum += given;
  }
  sizes.calibration_tokens = sum * sizes.calibration_length;
  return sizes;
}

absl::Status CheckFits(const v1::CompressionJob& job, const SourceModel& model,
                       const std::vector<v1::WorkerInfo>& workers) {
  const int64_t needed = LeastMemory(job.recipe(), model);
  int64_t largest = 0;
  std::string owner;
  for (const v1::WorkerInfo& worker : workers) {
    if (worker.state() == v1::WorkerInfo::LOST) continue;
    if (!job.placement().device().empty() && worker.device() != job.placement().device()) continue;
    // One that does not say how much it has is given the benefit of the doubt.
    if (worker.memory_bytes() <= 0 || worker.memory_bytes() >= needed) return absl::OkStatus();
    if (worker.memory_bytes() > largest) {
      largest = worker.memory_bytes();
      owner = worker.id();
    }
  }
  if (largest == 0) return absl::OkStatus();  // nobody is there yet; the job waits
  return PreconditionError(
      reason::kInsufficientMemory,
      absl::StrCat("a worker needs at least ", needed, " bytes for one block and its statistics; the largest, ", owner,
                   ", has ", largest));
}

// The job, or of a study one for every method and source.
std::vector<v1::CompressionJob> PartsOf(const v1::CompressionJob& job) {
  if (!job.recipe().has_study()) return {job};
  std::vector<v1::CompressionJob> parts;
  for (const recipe::StudyRun& run : recipe::StudyRuns(job.recipe())) {
    // Draws and weights ask for nothing else.
    const bool first_weight = !run.domain_weight || *run.domain_weight == job.recipe().study().sweep().weights(0);
    if (run.draw > 0 || run.repeat || !first_weight) continue;
    *parts.emplace_back(job).mutable_recipe() = run.recipe;
  }
  return parts;
}

// The largest of each.
void AddEstimate(const v1::Estimate& part, v1::Estimate* all) {
  const int64_t output = std::max(all->output_bytes(), part.output_bytes());
  const int64_t memory = std::max(all->worker_memory_bytes(), part.worker_memory_bytes());
  *all = part;
  all->set_output_bytes(output);
  all->set_worker_memory_bytes(memory);
}

}  // namespace

absl::StatusOr<v1::CompressionJob> Admission::Admit(const v1::CompressionJob& job,
                                                    const std::vector<v1::WorkerInfo>& workers) const {
  CALIPRESS_ASSIGN_OR_RETURN(const SourceModel model, InspectModel(store_, job.model()));
  if (model.quantized && (job.recipe().steps_size() > 0 || job.recipe().has_study())) {
    return PreconditionError(reason::kUnsupportedCombination,
                             absl::StrCat("model ", storage::RedactUri(job.model()),
                                          " is quantized already (quantization_config in its config.json); give the "
                                          "original, or a recipe without steps to evaluate it"));
  }
  v1::CompressionJob admitted = job;
  *admitted.mutable_recipe() = recipe::Resolve(job.recipe(), model.spec);

  std::vector<FieldViolation> violations = recipe::ValidateForModel(admitted.recipe(), model.spec, "recipe");
  const bool recipe_fits = violations.empty();
  CALIPRESS_ASSIGN_OR_RETURN(const auto data, CheckData(store_, admitted));
  violations.insert(violations.end(), data.begin(), data.end());
  if (!violations.empty()) {
    return ViolationsError(recipe_fits ? reason::kInvalidCalibrationData : reason::kInvalidRecipe, violations);
  }
  if (!job.output().empty()) CALIPRESS_RETURN_IF_ERROR(CheckOutput(store_, job));
  if (!admitted.recipe().evaluation().reference().empty()) {
    CALIPRESS_RETURN_IF_ERROR(CheckReference(store_, admitted.recipe().evaluation().reference(), model));
  }
  const std::vector<v1::CompressionJob> parts = PartsOf(admitted);
  if (std::any_of(parts.begin(), parts.end(), [](const v1::CompressionJob& part) { return UsesText(part.recipe()); })) {
    CALIPRESS_RETURN_IF_ERROR(CheckTokenizer(store_, job.model(), model.spec));
  }
  std::vector<std::string> written;
  for (const auto& [field, source] : SourcesOf(admitted.recipe())) {
    if (source->has_self_generated()) written.push_back(field);
  }
  CALIPRESS_RETURN_IF_ERROR(CheckTextBegins(store_, job.model(), model.spec, written));
  std::vector<std::string> few;
  for (const v1::CompressionJob& part : parts) {
    CALIPRESS_RETURN_IF_ERROR(CheckFits(part, model, workers));
    CALIPRESS_ASSIGN_OR_RETURN(const InputSizes sizes, CalibrationSizes(store_, part.recipe().calibration()));
    AddEstimate(EstimateJob(part, model, sizes), admitted.mutable_estimate());
    if (auto warning = recipe::FewTokensWarning(part.recipe(), model.spec, sizes.calibration_tokens)) {
      if (std::find(few.begin(), few.end(), *warning) == few.end()) few.push_back(*std::move(warning));
    }
  }
  if (admitted.recipe().has_study()) {
    // As many as the largest of the runs.
    const int64_t kept = recipe::MostKept(admitted.recipe().study());
    admitted.mutable_estimate()->set_output_bytes(kept * admitted.estimate().output_bytes());
  }
  for (std::string& warning : few) admitted.mutable_estimate()->add_warnings(std::move(warning));
  for (std::string& warning : recipe::LoaderWarnings(admitted.recipe(), model.spec)) {
    admitted.mutable_estimate()->add_warnings(std::move(warning));
  }
  if (auto unused = recipe::UnusedCalibration(admitted.recipe())) {
    admitted.mutable_estimate()->add_warnings(*std::move(unused));
  }
  return admitted;
}

}  // namespace calipress::api
