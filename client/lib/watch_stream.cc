#include "client/lib/watch_stream.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "compress/base/clock.h"

namespace calipress::client {
namespace {

constexpr auto kSlice = std::chrono::milliseconds(200);

enum class Step { kDone, kEnded, kSilent, kCancelled };

// Waits for the one operation that is under way, in slices, so that a cancellation and silence are noticed.
class Waiter {
 public:
  Waiter(grpc::CompletionQueue* queue, double silence_seconds, const CancellationToken& cancellation)
      : queue_(*queue), silence_seconds_(silence_seconds), cancellation_(cancellation) {}

  Step Wait() {
    const Stopwatch stopwatch;
    while (true) {
      void* tag = nullptr;
      bool ok = false;
      const auto event = queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kSlice);
      if (event == grpc::CompletionQueue::GOT_EVENT) return ok ? Step::kDone : Step::kEnded;
      if (cancellation_.cancelled()) return Step::kCancelled;
      if (stopwatch.Seconds() > silence_seconds_) return Step::kSilent;
    }
  }

 private:
  grpc::CompletionQueue& queue_;
  const double silence_seconds_;
  const CancellationToken& cancellation_;
};

}  // namespace

grpc::Status ReadWatchStream(v1::CompressionService::Stub& stub, const v1::WatchCompressionJobRequest& request,
                             double silence_seconds, const CancellationToken& cancellation,
                             const std::function<void(const v1::WatchCompressionJobResponse&)>& on_answer) {
  // Tags are not told apart: at most one operation is under way.
  void* const tag = nullptr;
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  Waiter waiter(&queue, silence_seconds, cancellation);
  v1::WatchCompressionJobResponse answer;
  auto reader = stub.AsyncWatchCompressionJob(&context, request, &queue, tag);
  Step step = waiter.Wait();
  while (step == Step::kDone) {
    reader->Read(&answer, tag);
    step = waiter.Wait();
    if (step == Step::kDone) on_answer(answer);
  }
  void* drained_tag = nullptr;
  bool drained_ok = false;
  if (step != Step::kEnded) {
    // The operation under way comes back at once, and must before the queue goes.
    context.TryCancel();
    queue.Next(&drained_tag, &drained_ok);
  }
  grpc::Status status;
  reader->Finish(&status, tag);
  queue.Next(&drained_tag, &drained_ok);
  queue.Shutdown();
  while (queue.Next(&drained_tag, &drained_ok)) {
  }
  if (step == Step::kSilent) return {grpc::StatusCode::DEADLINE_EXCEEDED, "the server has fallen silent"};
  if (step == Step::kCancelled) return {grpc::StatusCode::CANCELLED, "cancelled"};
  return status;
}

}  // namespace calipress::client
