#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "compress/arch/arch.h"
#include "compress/checkpoint/compressed_tensors.h"
#include "compress/checkpoint/safetensors.h"
#include "compress/engine/activities.h"
#include "compress/engine/stage.h"
#include "compress/model/block.h"

namespace calipress::engine {

// A model folder that is open for reading.
struct OpenModel {
  std::string uri;
  std::string config_json;
  arch::ArchSpec spec;
  checkpoint::QuantizationConfig quantization;
  std::unique_ptr<checkpoint::ModelReader> reader;
  std::unique_ptr<model::WeightSource> weights;
};

// The model runs in the dtype that the recipe's result has, which may not be its own: what is calibrated, solved and
// measured is then what programs that load the result will compute with.
absl::StatusOr<std::unique_ptr<OpenModel>> Open(storage::ObjectStore& store, const std::string& uri, at::Device device,
                                                const v1::Recipe& recipe);

class OriginalBlocks;

// What the runs of a study share on one stage.
struct StudySetting {
  OriginalBlocks& source;  // the original model's blocks of this stage
};

// What the phases of one stage share.
struct StageContext {
  const worker::v1::Assignment& assignment;
  StageEnvironment& environment;
  StageObserver& observer;
  const CancellationToken& cancellation;
  at::Device device;
  // Runs of a study share it.
  std::shared_ptr<OpenModel> model;
  ActivityLedger activities;
  worker::v1::StageOutcome outcome;
  // Set in a run of a study. Its failure is its own: the stage goes on with the next run, and until then keeps up what
  // it exchanges with its neighbours.
  const StudySetting* study = nullptr;
  // Such a run has failed here: its blocks stay as they were.
  bool gave_up = false;
  // A failure of which the others do not know, while they wait for something from here: it ends the study.
  bool out_of_step = false;

  int rank() const { return assignment.rank(); }
  int world_size() const { return assignment.world_size(); }
  // Rank 0: reads the calibration data, tells what is to be told once.
  bool leader() const { return rank() == 0; }
  // Every rank has all blocks and a share of the sequences, rather than a range of blocks.
  bool replicas() const { return recipe().sharding() == v1::SHARDING_SAMPLES && world_size() > 1; }
  // Whether hidden states enter the model here, and leave it here.
  bool first() const { return replicas() || leader(); }
  bool last() const { return replicas() || rank() + 1 == world_size(); }
  // Whether this rank has the results of an evaluation: one rank tells them.
  bool tells_scores() const { return replicas() ? leader() : last(); }
  // Whether this rank writes the block, of those that it has.
  bool Writes(int64_t block) const { return !replicas() || block % world_size() == rank(); }
  const v1::Recipe& recipe() const { return assignment.recipe(); }
  const arch::ArchSpec& spec() const { return model->spec; }
  storage::ObjectStore& store() const { return environment.store; }
  // Null where an earlier attempt has not finished the block.
  const worker::v1::FinishedBlock* Finished(int64_t block) const;
};

// In a run of a study: whether this ends the run and not the study. What is wrong with the recipe's data or a linear's
// numbers does; what is wrong with the machines does not, nor does being cancelled.
bool EndsRunAlone(const StageContext& context, const absl::Status& status);

// Runs one phase: times it, takes its peak memory, reports it.
absl::Status RunPhase(StageContext& context, const std::string& name, const std::function<absl::Status()>& body);

// "calibration-tokens" and so on, as in calipress.v1.Progress.
inline constexpr char kTokensPhase[] = "calibration-tokens";
inline constexpr char kRatiosPhase[] = "layer-ratios";
inline constexpr char kCompressPhase[] = "compress";
inline constexpr char kEvaluatePhase[] = "evaluate";
inline constexpr char kStudyPhase[] = "study";
inline constexpr char kKeepPhase[] = "keep";
inline constexpr char kAssemblePhase[] = "assemble";

}  // namespace calipress::engine
