#include "client/cli/job_request.h"

#include <CLI/CLI.hpp>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "client/cli/uri_argument.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/recipe/data_kind.h"
#include "compress/recipe/recipe.h"
#include "compress/storage/object_store.h"

namespace calipress::cli {
namespace {

constexpr int64_t kLargestRecipe = 1 << 20;

absl::StatusOr<std::string> RecipeText(const std::string& name) {
  std::string presets;
  for (const recipe::Preset& preset : recipe::Presets()) {
    if (preset.name == name) return preset.yaml;
    absl::StrAppend(&presets, presets.empty() ? "" : ", ", preset.name);
  }
  std::error_code error;
  if (std::filesystem::is_directory(name, error)) {
    return UserError(reason::kInvalidRecipe, absl::StrCat("recipe ", name, " is a folder; give a YAML file"));
  }
  auto text = storage::OpenObjectStore()->ReadAll(UriArgument(name), kLargestRecipe);
  if (!absl::IsNotFound(text.status())) return text;
  return UserError(reason::kInvalidRecipe, absl::StrCat("recipe ", storage::RedactUri(name),
                                                        " is neither a file nor a preset; presets: ", presets));
}

void SetCalibration(const std::string& uri, v1::Recipe* recipe) {
  v1::Calibration* calibration = recipe->mutable_calibration();
  v1::TextLayout layout = v1::TEXT_LAYOUT_UNSPECIFIED;
  std::string field;
  // How the text is read stays as the recipe says; where it lies does not.
  if (calibration->sources_size() == 1 && calibration->sources(0).has_text()) {
    layout = calibration->sources(0).text().layout();
    field = calibration->sources(0).text().field();
  }
  calibration->clear_sources();
  v1::CalibrationSource* source = calibration->add_sources();
  if (recipe::IsTokenIds(recipe::DataKindOf(uri))) {
    source->mutable_token_ids()->set_uri(uri);
    return;
  }
  source->mutable_text()->set_uri(uri);
  source->mutable_text()->set_field(field);
  source->mutable_text()->set_layout(layout);
}

}  // namespace

void AddJobArguments(CLI::App* command, JobArguments* arguments) {
  command->add_option("MODEL", arguments->model, "Hugging Face model folder")->required();
  command->add_option("OUTPUT", arguments->output, "folder that the checkpoint is written to; new or empty")
      ->required();
  command->add_option("-r,--recipe", arguments->recipe, "recipe file (YAML) or the name of a preset")
      ->required()
      ->type_name("FILE|PRESET");
  command
      ->add_option("--calibration", arguments->calibration,
                   "calibration text (.txt, .jsonl, .jsonl.gz, .jsonl.zst, .jsonl.xz, .parquet) or token ids (.npy, "
                   ".safetensors), in place of the recipe's")
      ->type_name("URI");
  command->add_option("--set", arguments->sets, "override one field of the recipe; may be repeated")
      ->type_name("PATH=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

absl::StatusOr<v1::CreateCompressionJobRequest> BuildRequest(const JobArguments& arguments) {
  CALIPRESS_ASSIGN_OR_RETURN(const std::string text, RecipeText(arguments.recipe));
  auto recipe = recipe::ParseYaml(text);
  if (!recipe.ok()) return Annotate(recipe.status(), absl::StrCat("recipe ", storage::RedactUri(arguments.recipe)));
  // Sets come last, so that they may also say how the given text is read.
  if (!arguments.calibration.empty()) SetCalibration(arguments.calibration, &*recipe);
  for (const std::string& assignment : arguments.sets) {
    CALIPRESS_RETURN_IF_ERROR(recipe::ApplySet(assignment, &*recipe));
  }
  MakeUrisAbsolute(&*recipe);

  v1::CreateCompressionJobRequest request;
  v1::CompressionJob* job = request.mutable_compression_job();
  job->set_model(UriArgument(arguments.model));
  job->set_output(UriArgument(arguments.output));
  *job->mutable_recipe() = *std::move(recipe);
  job->mutable_placement()->set_workers(arguments.workers);
  job->mutable_placement()->set_device(arguments.device);
  return request;
}

}  // namespace calipress::cli
