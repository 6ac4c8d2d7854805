#include "server/api/estimate.h"

#include <algorithm>
#include <array>
#include <map>

#include "compress/checkpoint/safetensors.h"
#include "compress/recipe/recipe.h"

namespace calipress::api {
namespace {

constexpr int64_t kFloat = 4;
// The program itself, libtorch and its thread pools, the tokenizer.
constexpr int64_t kProgramBytes = int64_t{600} << 20;
// Logits of a micro-batch are made in chunks of at most so many tokens, for two models and a softmax of each.
constexpr int64_t kLogitTokens = 2048;
constexpr int64_t kLogitCopies = 4;

bool NeedsStatistics(const v1::Recipe& recipe) {
  return std::any_of(recipe.steps().begin(), recipe.steps().end(),
                     [](const v1::Step& step) { return recipe::NeedsStatistics(step); });
}

// Input width of each group of linears that share their input.
std::map<int, int64_t> InputWidths(const arch::ArchSpec& spec) {
  std::map<int, int64_t> widths;
  for (const arch::LinearSpec& linear : arch::BlockLinears(spec, 0)) widths[linear.input] = linear.in;
  return widths;
}

int64_t MomentBytes(const arch::ArchSpec& spec) {
  int64_t bytes = 0;
  for (const auto& [input, width] : InputWidths(spec)) bytes += width * width * kFloat;
  return bytes;
}

int64_t WidestMoment(const arch::ArchSpec& spec) {
  int64_t widest = 0;
  for (const auto& [input, width] : InputWidths(spec)) widest = std::max(widest, width * width * kFloat);
  return widest;
}

// Damped copy, factor and inverse; the weight in fp32 with its errors and its codes.
int64_t SolveBytes(const arch::ArchSpec& spec) {
  int64_t largest = 0;
  for (const arch::LinearSpec& linear : arch::BlockLinears(spec, 0)) {
    largest = std::max(largest, 3 * linear.in * linear.in * kFloat + 3 * linear.out * linear.in * kFloat);
  }
  return largest;
}

// Everything a block's forward makes for `tokens` tokens of windows of `length`, in fp32 at the widest.
int64_t ForwardBytes(const arch::ArchSpec& spec, int64_t tokens, int64_t length) {
  const int64_t per_token = 4 * spec.hidden + 2 * (spec.heads + 2 * spec.kv_heads) * spec.head_dim +
                            2 * spec.heads * spec.head_dim + 3 * spec.intermediate;
  return tokens * per_token * kFloat + tokens * length * spec.heads * kFloat;
}

int64_t OutputBytes(const v1::Recipe& recipe, const SourceModel& model) {
  const arch::ArchSpec& spec = model.spec;
  const Dtype dtype = recipe::StoredDtype(recipe, spec.dtype);
  const auto plan_bytes = [&](const std::string& name, const std::vector<int64_t>& shape) {
    return checkpoint::TensorBytes({name, dtype, shape});
  };
  int64_t bytes = model.outer_bytes / DtypeBytes(spec.dtype) * DtypeBytes(dtype);
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (const arch::TensorSpec& tensor : arch::BlockTensors(spec, block))
      bytes += plan_bytes(tensor.name, tensor.shape);
    for (const arch::LinearSpec& linear : arch::BlockLinears(spec, block)) {
      bytes -= plan_bytes(linear.module, {linear.out, linear.in});
      for (const checkpoint::TensorPlan& plan : recipe::LinearTensors(recipe, linear, dtype)) {
        bytes += checkpoint::TensorBytes(plan);
      }
    }
  }
  return bytes;
}

// The heaviest moment of compression: weights and activations are there all the time, solving and forwarding take
// turns.
int64_t CompressBytes(const v1::CompressionJob& job, const SourceModel& model, const InputSizes& sizes) {
  const arch::ArchSpec& spec = model.spec;
  const v1::Recipe& recipe = job.recipe();
  const int64_t length = sizes.calibration_length;
  const int64_t rows =
      recipe.calibration().has_micro_batch() ? recipe.calibration().micro_batch() : recipe::DefaultMicroBatch(length);
  const int64_t tokens = std::max<int64_t>(rows, 1) * length;
  const int64_t workers = std::clamp<int64_t>(job.placement().workers(), 1, spec.blocks);
  int64_t moments = 0;
  int64_t activations = 0;
  int64_t forward = 0;
  if (NeedsStatistics(recipe)) {
    // Either the blocks or the tokens are divided. With the original's activations every block of the stage gathers
    // while the tokens stream by once.
    const bool replicas = recipe.sharding() == v1::SHARDING_SAMPLES;
    const int64_t blocks = replicas ? spec.blocks : (spec.blocks + workers - 1) / workers;
    const int64_t tokens_here =
        replicas ? (sizes.calibration_tokens + workers - 1) / workers + length : sizes.calibration_tokens;
    moments = (recipe.propagation() == v1::PROPAGATION_ORIGINAL ? blocks : 1) * MomentBytes(spec);
    activations = 2 * tokens_here * spec.hidden * DtypeBytes(spec.dtype);
    forward = ForwardBytes(spec, tokens, length);
  }
  return moments + activations + std::max(forward, SolveBytes(spec));
}

int64_t EvaluateBytes(const v1::Recipe& recipe, const SourceModel& model) {
  const auto bytes_at = [&](int64_t length) {
    const int64_t tokens = std::max(length, kLogitTokens);
    return ForwardBytes(model.spec, tokens, length) + kLogitCopies * tokens * model.spec.vocabulary * kFloat;
  };
  const v1::Evaluation& evaluation = recipe.evaluation();
  int64_t most = 0;
  for (const v1::Perplexity& text : evaluation.perplexity()) most = std::max(most, bytes_at(text.sequence_length()));
  // Rows of tasks are as long as they are; few have more tokens than a micro-batch.
  if (evaluation.multiple_choice_size() + evaluation.last_word_size() > 0) {
    most = std::max(most, bytes_at(std::min(model.spec.max_positions, kLogitTokens)));
  }
  return most;
}

}  // namespace

v1::Estimate EstimateJob(const v1::CompressionJob& job, const SourceModel& model, const InputSizes& sizes) {
  v1::Estimate estimate;
  estimate.set_parameters(model.parameters);
  estimate.set_blocks(static_cast<int32_t>(model.spec.blocks));
  estimate.set_source_bytes(model.bytes);
  if (!job.output().empty()) estimate.set_output_bytes(OutputBytes(job.recipe(), model));
  int64_t work = 0;
  if (job.recipe().steps_size() > 0) work = CompressBytes(job, model, sizes);
  work = std::max(work, EvaluateBytes(job.recipe(), model));
  // The next block is read while one is worked on; both ends of the model may meet on one worker.
  const int64_t weights = 2 * model.largest_block + model.outer_bytes;
  estimate.set_worker_memory_bytes(kProgramBytes + weights + work);
  return estimate;
}

int64_t LeastMemory(const v1::Recipe& recipe, const SourceModel& model) {
  return model.largest_block + (NeedsStatistics(recipe) ? WidestMoment(model.spec) : 0);
}

}  // namespace calipress::api
