#include "server/api/watch_stream.h"

#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/metrics.h"
#include "server/api/error_mapping.h"

namespace calipress::api {
namespace {

// Events of one message; far below the 4 MiB that clients take.
constexpr int kEventsPerMessage = 200;

prometheus::Gauge& OpenStreams() {
  static auto& gauge = GaugeFamily("calipress_watch_streams", "Clients that are watching a job.").Add({});
  return gauge;
}

}  // namespace

std::shared_ptr<WatchStream> WatchStream::Start(fleet::Coordinator* coordinator,
                                                const v1::WatchCompressionJobRequest& request,
                                                std::chrono::steady_clock::duration alive_interval) {
  std::shared_ptr<WatchStream> stream(new WatchStream(coordinator, request, alive_interval));
  stream->self_ = stream;
  const std::weak_ptr<WatchStream> weak = stream;
  stream->subscription_ = coordinator->Subscribe(request.name(), [weak] {
    if (const auto alive = weak.lock()) alive->Pump();
  });
  stream->Pump();
  return stream;
}

WatchStream::WatchStream(fleet::Coordinator* coordinator, const v1::WatchCompressionJobRequest& request,
                         std::chrono::steady_clock::duration alive_interval)
    : coordinator_(*coordinator),
      name_(request.name()),
      alive_interval_(alive_interval),
      after_(request.after_sequence()),
      quiet_since_(Clock::System().Steady()) {
  OpenStreams().Increment();
}

WatchStream::~WatchStream() { OpenStreams().Decrement(); }

void WatchStream::Pump() {
  {
    const std::lock_guard lock(mutex_);
    again_ = true;
    if (busy_) return;
    busy_ = true;
  }
  Work();
}

void WatchStream::End(const absl::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (!end_) end_ = status;
    if (busy_) return;
    busy_ = true;
  }
  Work();
}

void WatchStream::Tick() {
  {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::System().Steady();
    if (busy_ || now - quiet_since_ < alive_interval_) return;
    busy_ = true;
  }
  response_.Clear();
  StartWrite(&response_);
}

void WatchStream::Stop() {
  End(MakeError(absl::StatusCode::kUnavailable, reason::kDraining, ErrorClass::kEnvironment,
                "the coordinator is stopping; the job goes on, watch again after the last sequence"));
}

void WatchStream::Work() {
  while (true) {
    std::optional<absl::Status> end;
    int64_t after = 0;
    {
      const std::lock_guard lock(mutex_);
      again_ = false;
      after = after_;
      end = end_;
    }
    if (end) {
      Finish(ToGrpcStatus(*end));
      return;
    }
    auto page = coordinator_.Events(name_, after, kEventsPerMessage);
    if (page.ok() && !page->events.empty()) {
      response_.Clear();
      for (v1::JobEvent& event : page->events) *response_.add_events() = std::move(event);
      {
        const std::lock_guard lock(mutex_);
        after_ = response_.events(response_.events_size() - 1).sequence();
      }
      StartWrite(&response_);
      return;
    }
    const std::lock_guard lock(mutex_);
    if (!page.ok() || page->ended) {
      if (!end_) end_ = page.status();
    } else if (!again_ && !end_) {
      busy_ = false;
      return;
    }
  }
}

void WatchStream::OnWriteDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    quiet_since_ = Clock::System().Steady();
    if (!ok && !end_) end_ = absl::CancelledError("the client went away");
  }
  Work();
}

void WatchStream::OnCancel() { End(absl::CancelledError("the client went away")); }

void WatchStream::OnDone() {
  // First the news stop (this waits for a call under way), then nobody but the last owner of a reference is left.
  subscription_.reset();
  const std::shared_ptr<WatchStream> last = std::move(self_);
}

}  // namespace calipress::api
