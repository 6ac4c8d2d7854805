#include "worker/session/session.h"

#include <algorithm>
#include <thread>

#include "compress/base/digest.h"
#include "compress/base/log.h"
#include "compress/base/random.h"

namespace calipress::worker {
namespace {

constexpr double kCallSeconds = 10;
constexpr double kFirstRetrySeconds = 0.2;
// Below any sensible lease: a coordinator that is back must hear from its workers before their leases expire.
constexpr double kLastRetrySeconds = 1;
// How often a wait looks whether there is something to do.
constexpr double kLookSeconds = 0.05;

double Seconds(const google::protobuf::Duration& duration) { return duration.seconds() + duration.nanos() * 1e-9; }

}  // namespace

Session::Session(SessionOptions options, WorkerChannel* channel, StageExecutor* executor, const Clock& clock)
    : options_(std::move(options)), channel_(channel), executor_(executor), clock_(clock), session_id_(RandomId()) {}

worker::v1::SynchronizeRequest Session::Request() const {
  worker::v1::SynchronizeRequest request;
  request.set_worker_id(options_.worker_id);
  request.set_session_id(session_id_);
  *request.mutable_capabilities() = options_.capabilities;
  request.set_draining(draining_);
  if (stage_) *request.mutable_stage() = stage_->State();
  return request;
}

void Session::Follow(const worker::v1::SynchronizeResponse& response) {
  const bool wanted =
      stage_ && response.has_assignment() && response.assignment().lease_token() == stage_->assignment().lease_token();
  if (stage_ && !wanted) {
    if (!stage_->done() && !stopping_) {
      LogInfo("the coordinator stops the stage",
              {{"job", stage_->assignment().job_name()}, {"attempt", stage_->assignment().attempt()}});
      stage_->Cancel(absl::CancelledError("the coordinator stopped the stage"));
      stopping_ = true;
    }
    // Ended, and the coordinator knows (or does not care): forget it. Otherwise it is reported until it has ended.
    if (stage_->done()) {
      stage_.reset();
      stopping_ = false;
    }
  }
  if (!stage_ && response.has_assignment() && !draining_) {
    stage_ = std::make_unique<RunningStage>(executor_, response.assignment());
    stopping_ = false;
  }
}

void Session::Wait(double seconds) {
  const bool was_done = stage_ && stage_->done();
  const bool was_draining = draining_;
  const auto end =
      clock_.Steady() + std::chrono::duration_cast<Clock::SteadyTime::duration>(std::chrono::duration<double>(seconds));
  while (clock_.Steady() < end) {
    const double left = std::chrono::duration<double>(end - clock_.Steady()).count();
    const double look = std::max(0.001, std::min(left, kLookSeconds));
    if (stage_ && !was_done) {
      if (stage_->WaitDone(look)) return;
    } else {
      std::this_thread::sleep_for(std::chrono::duration<double>(look));
    }
    if (draining_ && !was_draining) return;
  }
}

bool Session::Drained() {
  if (!draining_) return false;
  if (!drain_began_) {
    drain_began_ = clock_.Steady();
    LogInfo("draining: no new work is taken", {{"busy", stage_ ? "yes" : "no"}});
  }
  if (!stage_) return true;
  if (std::chrono::duration<double>(clock_.Steady() - *drain_began_).count() < options_.drain_seconds) return false;
  if (stage_->done()) return true;  // the coordinator is away, or has not taken the outcome in
  LogWarning("drain_seconds are over: the stage is given up");
  // CANCELLED: the coordinator reads it as a worker that leaves, not as a stage that failed.
  stage_->Cancel(absl::CancelledError("the worker is being stopped"));
  stage_->WaitDone(options_.give_up_seconds);
  return true;
}

bool Session::Run() {
  RandomStream jitter(std::hash<std::string>()(session_id_), 0);
  double retry = kFirstRetrySeconds;
  bool reachable = true;
  while (true) {
    const bool last = Drained();
    auto response = channel_->Synchronize(Request(), kCallSeconds);
    // The last call tells the coordinator how the stage ended and that the leases are free; its answer changes nothing.
    if (last) {
      if (!stage_ || stage_->done()) return true;
      LogError("the stage did not stop in time", {{"job", stage_->assignment().job_name()},
                                                  {"attempt", stage_->assignment().attempt()},
                                                  {"phase", stage_->State().phase()}});
      return false;
    }
    if (!response.ok()) {
      if (reachable) {
        LogWarning("no answer from the coordinator; trying on", {{"error", std::string(response.status().message())}});
      }
      reachable = false;
      Wait(retry * (0.5 + jitter.Uniform()));
      retry = std::min(retry * 2, kLastRetrySeconds);
      continue;
    }
    if (!reachable) LogInfo("the coordinator answers again");
    reachable = true;
    retry = kFirstRetrySeconds;
    const bool had_stage = stage_ != nullptr;
    Follow(*response);
    // A stage that has just been dropped makes room: ask at once.
    if (had_stage && !stage_) continue;
    Wait(std::max(0.05, Seconds(response->next_synchronize())));
  }
}

}  // namespace calipress::worker
