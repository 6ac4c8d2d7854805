#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "calipress/v1/compression_service.pb.h"
#include "compress/base/error.h"

namespace calipress::api {

// What shows from a request alone, without a look at any file. All of it at once: violations as
// ViolationsError(INVALID_RECIPE) where only the recipe is wrong, else INVALID_REQUEST. Field paths start at the job
// ("model", "recipe.steps[0].gptq.bits") or at the request ("request_id").
absl::Status CheckCreate(const v1::CreateCompressionJobRequest& request);
absl::Status CheckList(const v1::ListCompressionJobsRequest& request);
absl::Status CheckCancel(const v1::CancelCompressionJobRequest& request);
absl::Status CheckWatch(const v1::WatchCompressionJobRequest& request);

// "compressionJobs/{id}", with an id that a job can have.
absl::Status CheckName(std::string_view name);

// Every calibration source of a recipe, those of a study among them, with its field's path. The recipe outlives them.
struct RecipeSource {
  std::string field;
  const v1::CalibrationSource* source;
};
std::vector<RecipeSource> SourcesOf(const v1::Recipe& recipe);

// Every URI of a recipe with its field path.
struct RecipeUri {
  std::string field;
  std::string uri;
};
std::vector<RecipeUri> UrisOf(const v1::Recipe& recipe);

// Tells the same requests from different ones, whatever the order of their labels: SHA-256 of the job and its id.
std::string RequestDigest(const v1::CreateCompressionJobRequest& request);

}  // namespace calipress::api
