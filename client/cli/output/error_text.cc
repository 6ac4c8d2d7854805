#include "client/cli/output/error_text.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/output/text.h"
#include "client/lib/compression_client.h"
#include "compress/base/error.h"

namespace calipress::cli {
namespace {

constexpr std::pair<std::string_view, std::string_view> kAdvice[] = {
    {reason::kInvalidRecipe, "correct the recipe, or override a field with --set PATH=VALUE"},
    {reason::kUnsupportedModel, "compress a model of a family that is listed"},
    {reason::kSourceModelNotFound,
     "check MODEL: the folder must hold config.json and safetensors files, and every "
     "worker must see it"},
    {reason::kSourceModelCorrupt, "copy or download the model again"},
    {reason::kInvalidCalibrationData,
     "correct the line that is named; or give a text with more or longer documents, or ask for fewer or shorter "
     "samples "
     "(--set calibration.samples=N, --set calibration.sequence_length=N)"},
    {reason::kOutputExists, "give another OUTPUT, or remove what is there"},
    {reason::kInsufficientMemory, "give more workers (--workers N), or workers with more memory"},
    {reason::kQueueFull, "try again when jobs have ended"},
    {reason::kJobNotFound, "calipress list shows the jobs that are there"},
    {reason::kJobExists, "give another --id"},
    {reason::kRequestIdReused, "use a new --request-id for another request"},
    {reason::kJobNotTerminal, "calipress cancel the job first, and wait until it has ended"},
    {reason::kStorageUnavailable, "check the store's address, network and credentials (AWS_ENDPOINT_URL and the like)"},
    {reason::kStoragePermissionDenied, "check the rights on that path, or the credentials of the store"},
    {reason::kStorageFull, "free space there, then run again"},
    {reason::kStoreUnavailable, "the coordinator's database is away; try again"},
    {reason::kDraining, "the coordinator is being stopped; try again"},
    {reason::kNonFiniteWeights, "the model itself is damaged at that tensor; copy or download it again"},
    {reason::kNonFiniteActivations, "try the model's float32 weights, or another calibration text"},
    {reason::kHessianNotPositiveDefinite,
     "raise gptq.damping, calibrate on more text, or set on_numeric_failure: "
     "fallback"},
    {reason::kOutOfMemory, "give more workers, fewer threads, or a smaller calibration.micro_batch"},
    {reason::kTooManyAttempts, "look into the workers' logs for why they ended, then run again"},
    {reason::kDeviceUnavailable, "run with --device cpu, or on a machine with a working GPU"},
};

}  // namespace

std::string_view Advice(std::string_view why) {
  for (const auto& [known, advice] : kAdvice) {
    if (known == why) return advice;
  }
  return "";
}

std::string ErrorText(const absl::Status& status) {
  if (status.ok()) return "";
  std::string text;
  const auto violations = Violations(status);
  if (violations.size() > 1) {
    text = absl::StrCat("error: ", violations.size(), " fields are wrong\n");
    for (const FieldViolation& violation : violations) {
      absl::StrAppend(&text, "  ", OneLine(violation.field), ": ", OneLine(violation.description), "\n");
    }
  } else {
    text = absl::StrCat("error: ", OneLine({status.message().data(), status.message().size()}), "\n");
  }
  const std::string why = ErrorReason(status);
  // A server that is away sends no reason; that it is away is said already.
  if (client::IsServerAway(status) && why == reason::kInternal) {
    return text + "  do: check --server HOST:PORT, and that calipress-coordinator runs there\n";
  }
  absl::StrAppend(&text, "  reason: ", OneLine(why), "\n");
  if (const std::string_view advice = Advice(why); !advice.empty()) {
    absl::StrAppend(&text, "  do: ", std::string(advice), "\n");
  }
  return text;
}

}  // namespace calipress::cli
