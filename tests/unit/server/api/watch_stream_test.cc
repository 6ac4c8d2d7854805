#include "server/api/watch_stream.h"

#include <thread>

#include "tests/unit/server/api/testing_server.h"

namespace calipress::api {
namespace {

using testing::Reason;

class WatchTest : public testing::ApiTest {
 protected:
  struct Watched {
    std::vector<v1::JobEvent> events;
    int alive = 0;
    grpc::Status status;
  };

  std::unique_ptr<grpc::ClientReader<v1::WatchCompressionJobResponse>> Watch(grpc::ClientContext* context,
                                                                             const std::string& name, int64_t after) {
    v1::WatchCompressionJobRequest request;
    request.set_name(name);
    request.set_after_sequence(after);
    return stub_->WatchCompressionJob(context, request);
  }

  // Until the stream ends.
  Watched WatchAll(const std::string& name, int64_t after) {
    const auto context = Context();
    const auto reader = Watch(context.get(), name, after);
    Watched watched;
    v1::WatchCompressionJobResponse response;
    while (reader->Read(&response)) {
      if (response.events_size() == 0) ++watched.alive;
      watched.events.insert(watched.events.end(), response.events().begin(), response.events().end());
    }
    watched.status = reader->Finish();
    return watched;
  }
};

TEST_F(WatchTest, TellsTheWholeHistoryAndEndsWithTheJob) {
  const std::string name = Create(Request()).name();
  Watched watched;
  std::thread watcher([&] { watched = WatchAll(name, 0); });
  std::this_thread::sleep_for(std::chrono::milliseconds(350));
  ASSERT_TRUE(Cancel(name).ok());
  watcher.join();
  EXPECT_TRUE(watched.status.ok()) << watched.status.error_message();
  ASSERT_GE(watched.events.size(), 2u);
  EXPECT_EQ(watched.events.front().state(), v1::CompressionJob::QUEUED);
  EXPECT_EQ(watched.events.back().state(), v1::CompressionJob::CANCELLED);
  for (size_t i = 0; i < watched.events.size(); ++i)
    EXPECT_EQ(watched.events[i].sequence(), static_cast<int64_t>(i + 1));
  EXPECT_GE(watched.alive, 1) << "with nothing to tell it says that it is alive";
}

TEST_F(WatchTest, GoesOnAfterASequence) {
  const std::string name = Create(Request()).name();
  ASSERT_TRUE(Cancel(name).ok());
  const Watched whole = WatchAll(name, 0);
  ASSERT_GE(whole.events.size(), 2u);
  const Watched rest = WatchAll(name, 1);
  EXPECT_TRUE(rest.status.ok());
  ASSERT_EQ(rest.events.size(), whole.events.size() - 1);
  EXPECT_EQ(rest.events.front().sequence(), 2);
  const Watched none = WatchAll(name, whole.events.back().sequence());
  EXPECT_TRUE(none.status.ok());
  EXPECT_TRUE(none.events.empty());
}

TEST_F(WatchTest, ManyWatchersAllHearTheEnd) {
  const std::string name = Create(Request()).name();
  std::vector<Watched> watched(16);
  std::vector<std::thread> watchers;
  for (Watched& one : watched) watchers.emplace_back([&] { one = WatchAll(name, 0); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ASSERT_TRUE(Cancel(name).ok());
  for (auto& watcher : watchers) watcher.join();
  for (const Watched& one : watched) {
    EXPECT_TRUE(one.status.ok()) << one.status.error_message();
    ASSERT_FALSE(one.events.empty());
    EXPECT_EQ(one.events.back().state(), v1::CompressionJob::CANCELLED);
    EXPECT_EQ(one.events.size(), watched[0].events.size());
  }
}

TEST_F(WatchTest, RefusesUnknownJobsAndWrongNames) {
  EXPECT_EQ(Reason(WatchAll("compressionJobs/absent", 0).status), "JOB_NOT_FOUND");
  EXPECT_EQ(Reason(WatchAll("absent", 0).status), "INVALID_REQUEST");
  EXPECT_EQ(Reason(WatchAll("compressionJobs/absent", -1).status), "INVALID_REQUEST");
}

TEST_F(WatchTest, AClientMayLeaveAtAnyTime) {
  const std::string name = Create(Request()).name();
  for (int i = 0; i < 50; ++i) {
    const auto context = Context();
    const auto reader = Watch(context.get(), name, 0);
    v1::WatchCompressionJobResponse response;
    if (i % 2 == 0) EXPECT_TRUE(reader->Read(&response));
    context->TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  ASSERT_TRUE(Cancel(name).ok());
  EXPECT_TRUE(WatchAll(name, 0).status.ok());
}

TEST_F(WatchTest, AStoppingServiceSendsItsWatchersAway) {
  const std::string name = Create(Request()).name();
  Watched watched;
  std::thread watcher([&] { watched = WatchAll(name, 0); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  service_->Stop();
  watcher.join();
  EXPECT_EQ(watched.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Reason(watched.status), "DRAINING");
}

}  // namespace
}  // namespace calipress::api
