#include "server/api/watch_stream.h"

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
  while (true) {
    int64_t after = 0;
    {
      const std::lock_guard lock(mutex_);
      if (finished_ || ending_) return;
      again_ = true;
      if (busy_) return;
      busy_ = true;
      again_ = false;
      after = after_;
    }
    auto page = coordinator_.Events(name_, after, kEventsPerMessage);
    if (!page.ok() || page->events.empty()) {
      const bool end = !page.ok() || page->ended;
      {
        const std::lock_guard lock(mutex_);
        busy_ = false;
        if (!end && !ending_ && again_) continue;
      }
      if (end) {
        End(page.ok() ? absl::OkStatus() : page.status());
      } else {
        End({});  // only where someone asked for it meanwhile
      }
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      response_.Clear();
      for (v1::JobEvent& event : page->events) *response_.add_events() = std::move(event);
      after_ = response_.events(response_.events_size() - 1).sequence();
    }
    StartWrite(&response_);
    return;
  }
}

}  // namespace calipress::api
