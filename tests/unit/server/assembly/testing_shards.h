#pragma once

#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "calipress/v1/job.pb.h"
#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/recipe/recipe.h"
#include "server/assembly/expected_tensors.h"
#include "tests/unit/server/assembly/testing_tiny_model.h"

namespace calipress::testing {

// The tensors of the tiny model's checkpoint under a recipe of one RTN step, in the order of the model.
inline std::vector<checkpoint::TensorPlan> CheckpointPlan(const v1::Recipe& recipe) {
  std::vector<checkpoint::TensorPlan> plan;
  std::set<std::string> quantized;
  for (const auto& module : assembly::LinearsOf(recipe, TinySpec()).quantized) quantized.insert(module.module);
  for (const auto& tensor : TinyTensors()) {
    const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
    if (!quantized.contains(module)) {
      plan.push_back(tensor);
      continue;
    }
    for (auto& packed : checkpoint::PackedLinearPlan(module, tensor.shape[0], tensor.shape[1],
                                                     recipe::SchemeOf(recipe.steps(0)), tensor.dtype)) {
      plan.push_back(packed);
    }
  }
  return plan;
}

// Writes them as `count` shards into a folder, and tells of them as two ranks would.
inline std::vector<worker::v1::StageOutcome> StageShards(storage::ObjectStore& store, const v1::Recipe& recipe,
                                                         const std::string& folder, int count) {
  const auto plan = CheckpointPlan(recipe);
  std::vector<worker::v1::StageOutcome> outcomes(2);
  for (int i = 0; i < count; ++i) {
    char name[64] = "model.safetensors";
    if (count > 1) std::snprintf(name, sizeof(name), "model-%05d-of-%05d.safetensors", i + 1, count);
    const size_t begin = plan.size() * i / count;
    const size_t end = plan.size() * (i + 1) / count;
    const std::vector<checkpoint::TensorPlan> part(plan.begin() + begin, plan.begin() + end);
    auto* shard = outcomes[i % 2].add_shards();
    shard->set_file(name);
    shard->set_uri(storage::JoinUri(folder, name));
    shard->set_bytes(WriteTensors(store, shard->uri(), part));
    for (const auto& tensor : part) {
      shard->add_tensors(tensor.name);
      shard->set_tensor_bytes(shard->tensor_bytes() + checkpoint::TensorBytes(tensor));
    }
  }
  return outcomes;
}

// A job on folder/model that publishes into folder/out, in its second attempt.
inline v1::CompressionJob RunningJob(const TestFolder& folder) {
  v1::CompressionJob job;
  job.set_name("compressionJobs/j");
  job.set_uid("uid-1");
  job.set_model(folder / "model");
  job.set_output(folder / "out");
  job.set_attempt(2);
  job.set_state(v1::CompressionJob::RUNNING);
  return job;
}

}  // namespace calipress::testing
