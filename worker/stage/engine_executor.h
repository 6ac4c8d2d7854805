#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "compress/storage/object_store.h"
#include "worker/stage/executor.h"

namespace calipress::worker {

struct EngineOptions {
  std::string device = "cpu";                // of tensors: "cpu" or "cuda"
  std::string backend = "gloo";              // of the gang's group
  std::string host = "127.0.0.1";            // where peers reach this worker
  int64_t memory_budget = int64_t{4} << 30;  // what a stage may use to keep blocks and activations
};

// Joins the gang and runs the engine. Where the stage fails, the peers are told at once: they would wait for it.
// `store` outlives it.
std::unique_ptr<StageExecutor> MakeEngineExecutor(const EngineOptions& options, storage::ObjectStore* store);

}  // namespace calipress::worker
