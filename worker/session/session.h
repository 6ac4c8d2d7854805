#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/base/clock.h"
#include "worker/session/channel.h"
#include "worker/session/running_stage.h"
#include "worker/stage/executor.h"

namespace calipress::worker {

struct SessionOptions {
  std::string worker_id;
  worker::v1::Capabilities capabilities;
  // After Drain: how long the stage under way may go on before it is given up.
  double drain_seconds = 30;
  // How long a stage that is given up may take to notice.
  double give_up_seconds = 10;
};

// One life of a worker: says what it is doing, does what it is told. The coordinator's word is a desired state, so a
// lost answer is made good by the next one, and a coordinator that is away is waited for while the stage goes on.
class Session {
 public:
  // `channel` and `executor` outlive it.
  Session(SessionOptions options, WorkerChannel* channel, StageExecutor* executor,
          const Clock& clock = Clock::System());

  // Until drained. False where the stage under way did not end although it was given up: the process is then to be
  // ended around it (this object's destructor would wait for the stage).
  [[nodiscard]] bool Run();

  // Takes no new work; Run returns once the stage under way has ended and been reported, or has been given up. Any
  // thread, and from a signal handler.
  void Drain() { draining_ = true; }

 private:
  worker::v1::SynchronizeRequest Request() const;
  // Does what an answer says.
  void Follow(const worker::v1::SynchronizeResponse& response);
  // Until the next call is due; sooner when the stage ends or a drain begins.
  void Wait(double seconds);
  // True when the next call is the last.
  bool Drained();

  SessionOptions options_;
  WorkerChannel* channel_;
  StageExecutor* executor_;
  const Clock& clock_;
  std::string session_id_;
  std::unique_ptr<RunningStage> stage_;
  bool stopping_ = false;  // the stage was told to stop
  std::atomic<bool> draining_{false};
  std::optional<Clock::SteadyTime> drain_began_;
};

}  // namespace calipress::worker
