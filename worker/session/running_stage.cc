#include "worker/session/running_stage.h"

#include <chrono>
#include <string>

#include "compress/base/thread.h"
#include "compress/base/utf8.h"
#include "compress/wire/rpc_status.h"

namespace calipress::worker {
namespace {

// A report with a malformed string would be refused as a whole, again and again.
template <typename Texts>
void Clean(Texts* texts) {
  for (std::string& text : *texts) text = BoundedText(text);
}

}  // namespace

RunningStage::RunningStage(StageExecutor* executor, worker::v1::Assignment assignment)
    : assignment_(std::move(assignment)) {
  state_.set_job_uid(assignment_.job_uid());
  state_.set_attempt(assignment_.attempt());
  state_.set_lease_token(assignment_.lease_token());
  thread_ = StartThread("stage", [this, executor] {
    auto outcome = executor->Execute(assignment_, *this, cancellation_);
    const absl::Status status = outcome.status();
    std::lock_guard lock(mutex_);
    if (outcome.ok()) *state_.mutable_outcome() = *std::move(outcome);
    *state_.mutable_outcome()->mutable_status() = ToRpcStatus(status);
    Clean(state_.mutable_outcome()->mutable_warnings());
    changed_.notify_all();
  });
}

RunningStage::~RunningStage() {
  Cancel(absl::CancelledError("the worker gives the stage up"));
  thread_.join();
}

worker::v1::StageState RunningStage::State() const {
  std::lock_guard lock(mutex_);
  return state_;
}

bool RunningStage::done() const {
  std::lock_guard lock(mutex_);
  return state_.has_outcome();
}

void RunningStage::Cancel(absl::Status reason) { cancellation_.Cancel(std::move(reason)); }

bool RunningStage::WaitDone(double seconds) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return state_.has_outcome(); });
}

void RunningStage::OnProgress(const std::string& phase, double fraction, const std::string& message) {
  std::lock_guard lock(mutex_);
  state_.set_phase(phase);
  state_.set_fraction(fraction);
  state_.set_message(BoundedText(message));
}

void RunningStage::OnBlockFinished(const worker::v1::FinishedBlock& block) {
  std::lock_guard lock(mutex_);
  *state_.add_finished_blocks() = block;
}

void RunningStage::OnPhaseFinished(const calipress::v1::PhaseReport& phase) {
  std::lock_guard lock(mutex_);
  *state_.add_phases() = phase;
}

void RunningStage::OnRunFinished(const worker::v1::FinishedRun& run) {
  std::lock_guard lock(mutex_);
  calipress::v1::RunReport& report = *(*state_.add_finished_runs() = run).mutable_report();
  report.set_error(BoundedText(report.error()));
  Clean(report.mutable_warnings());
}

void RunningStage::OnRunKept(const worker::v1::KeptRun& run) {
  std::lock_guard lock(mutex_);
  *state_.add_kept_runs() = run;
}

}  // namespace calipress::worker
