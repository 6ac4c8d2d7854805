#include "client/lib/compression_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <thread>

#include "client/lib/backoff.h"
#include "client/lib/rpc_error.h"
#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "google/rpc/error_details.pb.h"
#include "testing_fake_service.h"

namespace calipress::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kJob[] = "compressionJobs/a";

google::rpc::Status Details(absl::StatusCode code, const std::string& reason, const std::string& error_class,
                            std::vector<FieldViolation> violations = {}) {
  google::rpc::Status status;
  status.set_code(static_cast<int>(code));
  status.set_message("the server's words");
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("calipress.dev");
  (*info.mutable_metadata())["class"] = error_class;
  status.add_details()->PackFrom(info);
  if (!violations.empty()) {
    google::rpc::BadRequest bad;
    for (const auto& violation : violations) {
      auto* added = bad.add_field_violations();
      added->set_field(violation.field);
      added->set_description(violation.description);
    }
    status.add_details()->PackFrom(bad);
  }
  return status;
}

grpc::Status OnWire(const google::rpc::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), status.message(), status.SerializeAsString()};
}

TEST(RpcErrorTest, ReasonClassAndViolationsComeThrough) {
  const absl::Status plain =
      FromRpcStatus(Details(absl::StatusCode::kFailedPrecondition, "WORKER_LOST", "environment"));
  EXPECT_TRUE(absl::IsFailedPrecondition(plain));
  EXPECT_EQ(ErrorReason(plain), "WORKER_LOST");
  EXPECT_EQ(ErrorClassOf(plain), ErrorClass::kEnvironment);
  EXPECT_EQ(plain.message(), "the server's words");

  const absl::Status listed = FromRpcStatus(
      Details(absl::StatusCode::kInvalidArgument, "INVALID_RECIPE", "user", {{"a.b", "is bad"}, {"c", "is worse"}}));
  EXPECT_EQ(ErrorReason(listed), "INVALID_RECIPE");
  ASSERT_EQ(Violations(listed).size(), 2);
  EXPECT_EQ(Violations(listed)[1].field, "c");
}

TEST(RpcErrorTest, MissingOrStrangeDetailsLeaveTheCode) {
  google::rpc::Status bare;
  EXPECT_TRUE(FromRpcStatus(bare).ok());
  bare.set_code(5);
  bare.set_message("gone");
  auto* strange = bare.add_details();
  strange->set_type_url("type.googleapis.com/google.rpc.ErrorInfo");
  strange->set_value("\xff\xff\xff");
  EXPECT_TRUE(absl::IsNotFound(FromRpcStatus(bare)));
  EXPECT_EQ(ErrorClassOf(FromRpcStatus(bare)), ErrorClass::kUser);
}

TEST(RequestIdTest, IsAVersion4Uuid) {
  const std::regex uuid("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string id = NewRequestId();
    EXPECT_TRUE(std::regex_match(id, uuid)) << id;
    seen.insert(id);
  }
  EXPECT_EQ(seen.size(), 100);
}

class FakeClock : public Clock {
 public:
  WallTime Wall() const override { return {}; }
  SteadyTime Steady() const override { return now; }
  SteadyTime now{};
};

TEST(BackoffTest, GrowsWithinBoundsUntilTheBudgetIsSpent) {
  FakeClock clock;
  Backoff backoff(10, clock);
  double whole = 0.1;
  double spent = 0;
  for (int i = 0; i < 6; ++i) {
    const double pause = backoff.NextPause();
    EXPECT_GE(pause, 0.75 * whole);
    EXPECT_LE(pause, whole);
    clock.now += std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(pause));
    spent += pause;
    whole = std::min(2 * whole, 2.0);
  }
  EXPECT_LE(backoff.NextPause(), 10 - spent + 1e-6);
  clock.now += std::chrono::seconds(10);
  EXPECT_LT(backoff.NextPause(), 0);
  backoff.Reset();
  EXPECT_GT(backoff.NextPause(), 0);
}

TEST(CompressionClientTest, CreateIsTriedAgainUnderTheSameRequestId) {
  FakeService service;
  service.job.set_name(kJob);
  service.FailNext({FakeService::Unavailable(), FakeService::Unavailable()});
  const auto client = CompressionClient::Connect(service.address());
  const auto job = client->Create({});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->name(), kJob);
  ASSERT_EQ(service.creates.size(), 3);
  EXPECT_EQ(service.creates[0].request_id().size(), 36);
  EXPECT_EQ(service.creates[2].request_id(), service.creates[0].request_id());
}

TEST(CompressionClientTest, GivenRequestIdStays) {
  FakeService service;
  v1::CreateCompressionJobRequest request;
  request.set_request_id("mine");
  ASSERT_TRUE(CompressionClient::Connect(service.address())->Create(request).ok());
  EXPECT_EQ(service.creates[0].request_id(), "mine");
}

TEST(CompressionClientTest, RefusalsAreNotTriedAgain) {
  FakeService service;
  service.FailNext(
      {OnWire(Details(absl::StatusCode::kInvalidArgument, "INVALID_RECIPE", "user", {{"recipe.x", "no"}}))});
  const auto job = CompressionClient::Connect(service.address())->Create({});
  ASSERT_FALSE(job.ok());
  EXPECT_EQ(ErrorReason(job.status()), "INVALID_RECIPE");
  EXPECT_EQ(Violations(job.status())[0].field, "recipe.x");
  EXPECT_EQ(service.creates.size(), 1);
  EXPECT_FALSE(IsServerAway(job.status()));
}

TEST(CompressionClientTest, UnavailableStorageIsAnAnswer) {
  FakeService service;
  service.FailNext({OnWire(Details(absl::StatusCode::kUnavailable, "STORAGE_UNAVAILABLE", "environment"))});
  const auto job = CompressionClient::Connect(service.address())->Create({});
  EXPECT_EQ(ErrorReason(job.status()), "STORAGE_UNAVAILABLE");
  EXPECT_EQ(service.creates.size(), 1);
  EXPECT_FALSE(IsServerAway(job.status()));
}

TEST(CompressionClientTest, DrainingServerIsWaitedFor) {
  FakeService service;
  service.FailNext({OnWire(Details(absl::StatusCode::kUnavailable, "DRAINING", "environment"))});
  EXPECT_TRUE(CompressionClient::Connect(service.address())->Create({}).ok());
  EXPECT_EQ(service.creates.size(), 2);
}

TEST(CompressionClientTest, UnreachableServerIsNamed) {
  FakeService service;
  const std::string address = service.address();
  service.Stop();
  const auto job = CompressionClient::Connect(address, {.retry_seconds = 0.3})->Get(kJob);
  ASSERT_FALSE(job.ok());
  EXPECT_TRUE(IsServerAway(job.status()));
  EXPECT_THAT(std::string(job.status().message()), HasSubstr(address));
}

TEST(CompressionClientTest, DeleteWhoseAnswerWasLostIsDone) {
  FakeService service;
  const grpc::Status not_found = OnWire(Details(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", "user"));
  service.FailNext({FakeService::Unavailable(), not_found});
  const auto client = CompressionClient::Connect(service.address());
  EXPECT_TRUE(client->Delete(kJob).ok());
  service.FailNext({not_found});
  EXPECT_EQ(ErrorReason(client->Delete(kJob)), "JOB_NOT_FOUND");
}

// Writes events [from, to] after a sequence; the last of ten is SUCCEEDED.
void WriteEvents(int64_t from, int64_t to, grpc::ServerWriter<v1::WatchCompressionJobResponse>* writer) {
  v1::WatchCompressionJobResponse answer;
  for (int64_t i = from; i <= to; ++i) {
    *answer.add_events() = FakeService::Event(i, i == 10 ? v1::CompressionJob::SUCCEEDED : v1::CompressionJob::RUNNING);
  }
  writer->Write(answer);
}

TEST(WatchTest, GoesOnBySequenceOverBrokenStreamsAndRestarts) {
  FakeService service;
  int streams = 0;
  service.on_watch = [&](int64_t after, auto* writer, auto*) {
    ++streams;
    if (streams == 1) {
      WriteEvents(after + 1, after + 4, writer);
      return FakeService::Unavailable();
    }
    // Once more what was sent already: a client must not count on the exact start.
    WriteEvents(std::max<int64_t>(1, after - 1), streams == 2 ? after + 2 : 10, writer);
    return streams == 2 ? FakeService::Unavailable() : grpc::Status::OK;
  };
  std::vector<int64_t> seen;
  const auto client = CompressionClient::Connect(service.address());
  std::jthread restart;
  const absl::Status status = client->Watch(
      kJob, 0,
      [&](const v1::JobEvent& event) {
        seen.push_back(event.sequence());
        if (event.sequence() == 6) {
          restart = std::jthread([&] {
            service.Stop();
            std::this_thread::sleep_for(std::chrono::milliseconds(300));
            service.Restart();
          });
        }
      },
      CancellationToken());
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(seen, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
  EXPECT_EQ(service.watched_after.front(), 0);
  EXPECT_EQ(service.watched_after.back(), 6);
}

TEST(WatchTest, EndsForAJobThatHadEndedBefore) {
  FakeService service;
  service.job.set_state(v1::CompressionJob::FAILED);
  int events = 0;
  const auto client = CompressionClient::Connect(service.address());
  EXPECT_TRUE(client
                  ->Watch(
                      kJob, 7, [&](const v1::JobEvent&) { ++events; }, CancellationToken())
                  .ok());
  EXPECT_EQ(events, 0);
  EXPECT_THAT(service.watched_after, ElementsAre(7));
}

TEST(WatchTest, RefusalEndsIt) {
  FakeService service;
  service.on_watch = [](auto...) { return OnWire(Details(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", "user")); };
  const auto client = CompressionClient::Connect(service.address());
  EXPECT_EQ(ErrorReason(client->Watch(
                kJob, 0, [](const v1::JobEvent&) {}, CancellationToken())),
            "JOB_NOT_FOUND");
}

TEST(WatchTest, SilenceOpensItAgain) {
  FakeService service;
  int streams = 0;
  service.on_watch = [&](int64_t after, auto* writer, grpc::ServerContext* context) {
    if (++streams == 1) {
      while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return grpc::Status::CANCELLED;
    }
    WriteEvents(after + 1, 10, writer);
    return grpc::Status::OK;
  };
  int events = 0;
  const auto client = CompressionClient::Connect(service.address(), {.watch_silence_seconds = 0.5});
  EXPECT_TRUE(client
                  ->Watch(
                      kJob, 0, [&](const v1::JobEvent&) { ++events; }, CancellationToken())
                  .ok());
  EXPECT_EQ(streams, 2);
  EXPECT_EQ(events, 10);
}

TEST(WatchTest, CancellationEndsItSoon) {
  FakeService service;
  service.on_watch = [&](auto, auto, grpc::ServerContext* context) {
    while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return grpc::Status::CANCELLED;
  };
  CancellationToken token;
  std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    token.Cancel(absl::CancelledError("enough"));
  });
  const Stopwatch stopwatch;
  const auto client = CompressionClient::Connect(service.address());
  const absl::Status status = client->Watch(
      kJob, 0, [](const v1::JobEvent&) {}, token);
  EXPECT_EQ(status.message(), "enough");
  EXPECT_LT(stopwatch.Seconds(), 3);
}

TEST(WatchTest, GivesUpWhenTheServerStaysAway) {
  FakeService service;
  const std::string address = service.address();
  service.Stop();
  const auto client = CompressionClient::Connect(address, {.watch_retry_seconds = 0.3});
  EXPECT_TRUE(IsServerAway(client->Watch(
      kJob, 0, [](const v1::JobEvent&) {}, CancellationToken())));
}

}  // namespace
}  // namespace calipress::client
