#include "worker/stage/metered_executor.h"

#include <mutex>
#include <set>
#include <string_view>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "compress/base/error.h"
#include "compress/base/metrics.h"

namespace calipress::worker {
namespace {

// The recipe's methods in their order: "gptq", "rtn", "gptq+rtn", or "none" for a job that only evaluates.
std::string MethodLabel(const calipress::v1::Recipe& recipe) {
  if (recipe.has_study()) return "study";
  std::string label;
  std::set<std::string> seen;
  for (const auto& step : recipe.steps()) {
    const auto* const field = step.GetDescriptor()->FindFieldByNumber(static_cast<int>(step.method_case()));
    const std::string name = field ? field->name() : "unknown";
    if (seen.insert(name).second) label += (label.empty() ? "" : "+") + name;
  }
  return label.empty() ? "none" : label;
}

// What a linear's report says ("wanda + gptq", "rtn (fallback)") as such a label: "wanda+gptq", "rtn".
std::string LinearLabel(std::string_view methods) {
  std::vector<std::string> names;
  for (absl::string_view name : absl::StrSplit(absl::string_view(methods.data(), methods.size()), " + ")) {
    names.emplace_back(name.substr(0, name.find(' ')));
  }
  return absl::StrJoin(names, "+");
}

struct StageMetrics {
  prometheus::Family<prometheus::Counter>& attempts =
      CounterFamily("calipress_stage_attempts_total", "Stages that ended, by the phase they ended in and how.");
  prometheus::Family<prometheus::Histogram>& seconds =
      HistogramFamily("calipress_stage_duration_seconds", "Seconds of a phase on this worker.");
  prometheus::Family<prometheus::Counter>& layers =
      CounterFamily("calipress_layers_compressed_total", "Linears compressed, by the methods that did it.");
  prometheus::Family<prometheus::Counter>& runs =
      CounterFamily("calipress_study_runs_total", "Runs of studies that this worker is done with.");

  StageMetrics() {
    for (const char* method : {"gptq", "rtn"}) layers.Add({{"method", method}});
    for (const char* outcome : {"succeeded", "failed"}) runs.Add({{"outcome", outcome}});
  }
};

StageMetrics& AllMetrics() {
  static auto* const metrics = new StageMetrics;
  return *metrics;
}

class MeteredObserver : public engine::StageObserver {
 public:
  MeteredObserver(engine::StageObserver& next, const std::string& method) : next_(next), method_(method) {}

  void OnProgress(const std::string& phase, double fraction, const std::string& message) override {
    {
      std::lock_guard lock(mutex_);
      phase_ = phase;
    }
    next_.OnProgress(phase, fraction, message);
  }
  void OnBlockFinished(const worker::v1::FinishedBlock& block) override {
    for (const auto& linear : block.linears()) {
      AllMetrics().layers.Add({{"method", LinearLabel(linear.method())}}).Increment();
    }
    next_.OnBlockFinished(block);
  }
  void OnPhaseFinished(const calipress::v1::PhaseReport& phase) override {
    AllMetrics().seconds.Add({{"phase", phase.name()}, {"method", method_}}, StageBuckets()).Observe(phase.seconds());
    next_.OnPhaseFinished(phase);
  }
  void OnRunFinished(const worker::v1::FinishedRun& run) override {
    const std::string how = run.report().error().empty() ? "succeeded" : "failed";
    AllMetrics().runs.Add({{"outcome", how}}).Increment();
    next_.OnRunFinished(run);
  }
  void OnRunKept(const worker::v1::KeptRun& run) override { next_.OnRunKept(run); }
  std::string phase() const {
    std::lock_guard lock(mutex_);
    return phase_;
  }

 private:
  engine::StageObserver& next_;
  const std::string method_;
  mutable std::mutex mutex_;
  std::string phase_ = "start";
};

class MeteredExecutor : public StageExecutor {
 public:
  explicit MeteredExecutor(std::unique_ptr<StageExecutor> executor) : executor_(std::move(executor)) { AllMetrics(); }

  absl::StatusOr<worker::v1::StageOutcome> Execute(const worker::v1::Assignment& assignment,
                                                   engine::StageObserver& observer,
                                                   const CancellationToken& cancellation) override {
    MeteredObserver metered(observer, MethodLabel(assignment.recipe()));
    auto outcome = executor_->Execute(assignment, metered, cancellation);
    std::string how = "succeeded";
    if (!outcome.ok()) how = cancellation.cancelled() ? "cancelled" : "failed";
    AllMetrics()
        .attempts
        .Add({{"phase", metered.phase()},
              {"outcome", how},
              {"reason", outcome.ok() ? std::string("none") : ErrorReason(outcome.status())}})
        .Increment();
    return outcome;
  }

 private:
  std::unique_ptr<StageExecutor> executor_;
};

}  // namespace

std::unique_ptr<StageExecutor> MeterStages(std::unique_ptr<StageExecutor> executor) {
  return std::make_unique<MeteredExecutor>(std::move(executor));
}

}  // namespace calipress::worker
