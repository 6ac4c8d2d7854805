#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/metrics.h"
#include "worker/stage/engine_executor.h"

namespace calipress::worker {
namespace {

prometheus::Family<prometheus::Counter>& Attempts() {
  static auto& family = CounterFamily("calipress_stage_attempts_total", "Stages that ended, by outcome.");
  return family;
}

// The method of a job in a label: that of its last step, "none" for a job that only evaluates.
std::string MethodLabel(const calipress::v1::Recipe& recipe) {
  if (recipe.steps_size() == 0) return "none";
  const auto& step = recipe.steps(recipe.steps_size() - 1);
  const auto* field = step.GetDescriptor()->FindOneofByName("method");
  const auto* set = step.GetReflection()->GetOneofFieldDescriptor(step, field);
  return set == nullptr ? "none" : std::string(set->name());
}

std::string SourceLabel(const calipress::v1::Recipe& recipe) {
  if (recipe.calibration().sources_size() == 0) return "none";
  return recipe.calibration().sources(0).has_text() ? "text" : "token_ids";
}

// Counts what passes by, and hands it on.
class CountingObserver : public engine::StageObserver {
 public:
  CountingObserver(engine::StageObserver& inner, const calipress::v1::Recipe& recipe)
      : inner_(inner), method_(MethodLabel(recipe)) {}

  void OnProgress(const std::string& phase, double fraction, const std::string& message) override {
    phase_ = phase;
    inner_.OnProgress(phase, fraction, message);
  }

  void OnBlockFinished(const worker::v1::FinishedBlock& block) override {
    static auto& layers = CounterFamily("calipress_layers_compressed_total", "Linears compressed.");
    for (const auto& linear : block.linears()) {
      // "rtn (fallback)" counts as rtn: that is what the linear got.
      layers.Add({{"method", linear.method().substr(0, linear.method().find(' '))}}).Increment();
    }
    LogInfo("block finished", {{"block", block.index()}, {"bytes", block.bytes()}});
    inner_.OnBlockFinished(block);
  }

  void OnPhaseFinished(const calipress::v1::PhaseReport& phase) override {
    static auto& durations = HistogramFamily("calipress_stage_duration_seconds", "Seconds per phase of a stage.");
    durations.Add({{"phase", phase.name()}, {"method", method_}}, StageBuckets()).Observe(phase.seconds());
    LogInfo("phase finished", {{"phase", phase.name()}, {"seconds", phase.seconds()}});
    inner_.OnPhaseFinished(phase);
  }

  const std::string& phase() const { return phase_; }

 private:
  engine::StageObserver& inner_;
  std::string method_;
  std::string phase_ = "none";
};

class ObservedExecutor : public StageExecutor {
 public:
  ObservedExecutor(std::unique_ptr<StageExecutor> inner, std::string worker_id)
      : inner_(std::move(inner)), worker_id_(std::move(worker_id)) {}

  absl::StatusOr<worker::v1::StageOutcome> Execute(const worker::v1::Assignment& assignment,
                                                   engine::StageObserver& observer,
                                                   const CancellationToken& cancellation) override {
    LogScope scope({{"job", assignment.job_name()},
                    {"stage", assignment.rank()},
                    {"attempt", assignment.attempt()},
                    {"worker", worker_id_}});
    LogInfo("stage starts", {{"first_block", assignment.first_block()},
                             {"end_block", assignment.end_block()},
                             {"stages", assignment.world_size()}});
    Stopwatch watch;
    CountingObserver counting(observer, assignment.recipe());
    auto outcome = inner_->Execute(assignment, counting, cancellation);
    if (!outcome.ok()) {
      const std::string reason = cancellation.cancelled() ? "CANCELLED" : ErrorReason(outcome.status());
      Attempts().Add({{"phase", counting.phase()}, {"outcome", "failed"}, {"reason", reason}}).Increment();
      LogWarning("stage ended", {{"reason", reason},
                                 {"class", std::string(ErrorClassName(ErrorClassOf(outcome.status())))},
                                 {"error", std::string(outcome.status().message())},
                                 {"seconds", watch.Seconds()}});
      return outcome;
    }
    Attempts().Add({{"phase", counting.phase()}, {"outcome", "ok"}, {"reason", "none"}}).Increment();
    if (outcome->has_calibration()) {
      static auto& tokens = CounterFamily("calipress_calibration_tokens_total", "Tokens that statistics were taken of.");
      tokens.Add({{"source", SourceLabel(assignment.recipe())}})
          .Increment(static_cast<double>(outcome->calibration().tokens()));
    }
    LogInfo("stage done", {{"seconds", watch.Seconds()}});
    return outcome;
  }

 private:
  std::unique_ptr<StageExecutor> inner_;
  std::string worker_id_;
};

}  // namespace

std::unique_ptr<StageExecutor> ObserveExecutor(std::unique_ptr<StageExecutor> inner, const std::string& worker_id) {
  return std::make_unique<ObservedExecutor>(std::move(inner), worker_id);
}

}  // namespace calipress::worker
