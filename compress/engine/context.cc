#include "compress/engine/context.h"

#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/engine/peak_memory.h"
#include "compress/model/weights.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

constexpr int64_t kConfigLimit = 16 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<OpenModel>> Open(storage::ObjectStore& store, const std::string& uri, at::Device device,
                                                const v1::Recipe& recipe) {
  auto model = std::make_unique<OpenModel>();
  model->uri = uri;
  auto config = store.ReadAll(storage::JoinUri(uri, "config.json"), kConfigLimit);
  if (absl::IsNotFound(config.status())) {
    return MakeError(absl::StatusCode::kNotFound, reason::kSourceModelNotFound, ErrorClass::kUser,
                     "no config.json in " + storage::RedactUri(uri) + ": give the folder of a Hugging Face model");
  }
  CALIPRESS_RETURN_IF_ERROR(config.status());
  model->config_json = *std::move(config);
  CALIPRESS_ASSIGN_OR_RETURN(model->spec, arch::ParseConfig(model->config_json));
  model->spec.dtype = recipe::StoredDtype(recipe, model->spec.dtype);
  CALIPRESS_ASSIGN_OR_RETURN(model->quantization, checkpoint::ParseQuantizationConfig(model->config_json));
  CALIPRESS_ASSIGN_OR_RETURN(model->reader, checkpoint::ModelReader::Open(store, uri));
  model->weights =
      model::CheckpointWeights(*model->reader, model->quantization, model::ToScalarType(model->spec.dtype), device);
  return model;
}

const worker::v1::FinishedBlock* StageContext::Finished(int64_t block) const {
  for (const auto& finished : assignment.finished_blocks()) {
    if (finished.index() == block) return &finished;
  }
  return nullptr;
}

bool EndsRunAlone(const StageContext& context, const absl::Status& status) {
  if (context.study == nullptr || context.out_of_step || status.ok() || !context.cancellation.status().ok())
    return false;
  return ErrorClassOf(status) != ErrorClass::kEnvironment;
}

absl::Status RunPhase(StageContext& context, const std::string& name, const std::function<absl::Status()>& body) {
  CALIPRESS_RETURN_IF_ERROR(context.cancellation.status());
  PeakMemory peak(context.device);
  Stopwatch watch;
  CALIPRESS_RETURN_IF_ERROR(body());
  v1::PhaseReport report;
  report.set_name(name);
  report.set_seconds(watch.Seconds());
  report.set_peak_memory_bytes(peak.Bytes());
  for (const auto& [activity, seconds] : context.activities.Take()) (*report.mutable_activities())[activity] = seconds;
  context.outcome.set_peak_memory_bytes(std::max(context.outcome.peak_memory_bytes(), report.peak_memory_bytes()));
  context.observer.OnPhaseFinished(report);
  return absl::OkStatus();
}

}  // namespace calipress::engine
