#pragma once

#include <memory>
#include <string>

#include "compress/storage/object_store.h"
#include "worker/stage/executor.h"

namespace calipress::worker {

struct EngineOptions {
  std::string device = "cpu";       // of tensors: "cpu" or "cuda"
  std::string backend = "gloo";     // of the gang's group
  std::string host = "127.0.0.1";   // where peers reach this worker
  int64_t memory_budget = int64_t{4} << 30;  // what a stage may use to keep blocks and activations
};

// Joins the gang and runs the engine. `store` outlives it.
std::unique_ptr<StageExecutor> MakeEngineExecutor(const EngineOptions& options, storage::ObjectStore* store);

// Decorates an executor: a log scope (job, stage, attempt), a line at the start and the end, and the metrics
// calipress_stage_attempts_total, calipress_stage_duration_seconds, calipress_layers_compressed_total and
// calipress_calibration_tokens_total.
std::unique_ptr<StageExecutor> ObserveExecutor(std::unique_ptr<StageExecutor> inner, const std::string& worker_id);

}  // namespace calipress::worker
