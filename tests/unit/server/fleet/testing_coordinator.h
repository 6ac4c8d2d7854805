#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compress/base/error.h"
#include "server/fleet/coordinator.h"
#include "server/fleet/rpc_status.h"

namespace calipress::fleet {

class MovedClock : public Clock {
 public:
  WallTime Wall() const override { return WallTime(std::chrono::hours(24 * 365 * 50)) + since_; }
  SteadyTime Steady() const override { return SteadyTime(std::chrono::hours(1)) + since_; }
  void Pass(double seconds) { since_ += std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)); }

 private:
  std::chrono::milliseconds since_{0};
};

// Remembers what it was asked to publish and sweep; fails as scripted.
class ScriptedPublisher : public Publisher {
 public:
  struct Call {
    v1::CompressionJob job;
    std::vector<worker::v1::StageOutcome> outcomes;
    std::vector<worker::v1::FinishedBlock> blocks;
    std::vector<worker::v1::KeptRun> kept;
    v1::Report report;
  };
  absl::Status Publish(const v1::CompressionJob& job, const std::vector<worker::v1::StageOutcome>& outcomes,
                       const std::vector<worker::v1::FinishedBlock>& blocks,
                       const std::vector<worker::v1::KeptRun>& kept, v1::Report* report) override {
    calls.push_back({job, outcomes, blocks, kept, *report});
    if (on_publish) on_publish();
    if (!failures.empty()) {
      const absl::Status failure = failures.front();
      failures.pop_front();
      return failure;
    }
    report->set_output_bytes(1234);
    return absl::OkStatus();
  }
  absl::Status Sweep(const v1::CompressionJob& job) override {
    swept.push_back(job.name());
    if (sweep_failures.empty()) return absl::OkStatus();
    const absl::Status failure = sweep_failures.front();
    sweep_failures.pop_front();
    return failure;
  }

  std::deque<absl::Status> failures;
  std::deque<absl::Status> sweep_failures;
  std::function<void()> on_publish;
  std::vector<Call> calls;
  std::vector<std::string> swept;
};

// Passes everything on, or fails like a database that is down.
class FlakyStore : public store::JobStore {
 public:
  explicit FlakyStore(std::unique_ptr<store::JobStore> inner) : inner_(std::move(inner)) {}
  bool down = false;

  absl::StatusOr<int64_t> Create(const store::JobRow& row, const std::vector<v1::JobEvent>& events) override {
    if (down) return Down();
    return inner_->Create(row, events);
  }
  absl::StatusOr<store::JobRow> Get(std::string_view name) override {
    if (down) return Down();
    return inner_->Get(name);
  }
  absl::StatusOr<std::optional<store::JobRow>> FindByRequest(std::string_view id) override {
    if (down) return Down();
    return inner_->FindByRequest(id);
  }
  absl::StatusOr<v1::Report> GetReport(std::string_view uid) override { return inner_->GetReport(uid); }
  absl::StatusOr<std::vector<store::JobRow>> List(const store::ListQuery& query) override {
    return inner_->List(query);
  }
  absl::StatusOr<std::map<v1::CompressionJob::State, int64_t>> CountByState() override {
    return inner_->CountByState();
  }
  absl::Status Apply(const store::JobChange& change) override { return down ? Down() : inner_->Apply(change); }
  absl::Status Delete(std::string_view uid) override { return inner_->Delete(uid); }
  absl::StatusOr<std::vector<v1::JobEvent>> Events(std::string_view uid, int64_t after, int limit) override {
    return inner_->Events(uid, after, limit);
  }
  absl::StatusOr<std::vector<store::ActiveJob>> LoadActive() override { return inner_->LoadActive(); }
  absl::StatusOr<std::vector<v1::CompressionJob>> LoadUnswept() override { return inner_->LoadUnswept(); }

 private:
  static absl::Status Down() { return EnvironmentError(reason::kStoreUnavailable, "the database is down"); }
  std::unique_ptr<store::JobStore> inner_;
};

// A worker that says what the test has it say.
class FakeWorker {
 public:
  FakeWorker(std::unique_ptr<Coordinator>& coordinator, const std::string& id, const std::string& session = "life-1")
      : coordinator_(coordinator) {
    request_.set_worker_id(id);
    request_.set_session_id(session);
    request_.mutable_capabilities()->set_device("cpu");
    request_.mutable_capabilities()->set_threads(2);
    request_.mutable_capabilities()->set_rendezvous(id + ":29500");
  }

  worker::v1::SynchronizeRequest& request() { return request_; }
  worker::v1::StageState& stage() { return *request_.mutable_stage(); }
  const worker::v1::Assignment& assignment() const { return response_.assignment(); }
  bool assigned() const { return response_.has_assignment(); }

  absl::Status Sync() {
    auto response = coordinator_->Synchronize(request_);
    if (response.ok()) response_ = *response;
    return response.status();
  }

  // Synchronises idle; takes up what it is given and says so.
  bool TakeUp() {
    request_.clear_stage();
    if (!Sync().ok() || !assigned()) return false;
    stage().set_job_uid(assignment().job_uid());
    stage().set_attempt(assignment().attempt());
    stage().set_lease_token(assignment().lease_token());
    return Sync().ok() && assigned();
  }

  void Phase(const std::string& phase, double fraction, const std::string& message = "") {
    stage().set_phase(phase);
    stage().set_fraction(fraction);
    stage().set_message(message);
    EXPECT_TRUE(Sync().ok());
  }

  void EndPhase(const std::string& name, double seconds) {
    auto* phase = stage().add_phases();
    phase->set_name(name);
    phase->set_seconds(seconds);
    phase->set_peak_memory_bytes(static_cast<int64_t>(seconds * 100));
    (*phase->mutable_activities())["solve"] = seconds / 2;
    EXPECT_TRUE(Sync().ok());
  }

  void Finish(int index) {
    auto* block = stage().add_finished_blocks();
    block->set_index(index);
    block->set_uri(assignment().staging_uri() + "/block-" + std::to_string(index) + ".safetensors");
    block->add_linears()->set_name("layers." + std::to_string(index));
    EXPECT_TRUE(Sync().ok());
  }

  void End(const absl::Status& status) {
    *stage().mutable_outcome()->mutable_status() = ToRpcStatus(status);
    EXPECT_TRUE(Sync().ok());
  }

  // Stops what it was doing and says so.
  void GoIdle() {
    request_.clear_stage();
    EXPECT_TRUE(Sync().ok());
  }

 private:
  std::unique_ptr<Coordinator>& coordinator_;
  worker::v1::SynchronizeRequest request_;
  worker::v1::SynchronizeResponse response_;
};

class CoordinatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = store::OpenSqliteJobStore(StorePath());
    ASSERT_TRUE(opened.ok()) << opened.status();
    store = std::make_unique<FlakyStore>(std::move(*opened));
    StartCoordinator();
  }

  virtual std::string StorePath() { return ":memory:"; }

  void StartCoordinator() {
    coordinator.reset();
    auto created = Coordinator::Create(options, store.get(), &publisher, clock);
    ASSERT_TRUE(created.ok()) << created.status();
    coordinator = std::move(*created);
  }

  static Submission Request(const std::string& id, int workers = 2, int blocks = 4) {
    Submission submission;
    submission.job_id = id;
    submission.job.set_model("/models/tiny");
    submission.job.set_output("/out/" + id);
    submission.job.mutable_placement()->set_workers(workers);
    submission.job.mutable_estimate()->set_blocks(blocks);
    submission.job.mutable_recipe()->add_steps()->mutable_gptq()->set_bits(4);
    submission.job.mutable_recipe()->mutable_calibration()->add_sources()->mutable_text()->set_uri("/text.txt");
    return submission;
  }

  v1::CompressionJob Submit(const std::string& id, int workers = 2, int blocks = 4) {
    auto job = coordinator->Submit(Request(id, workers, blocks));
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : v1::CompressionJob();
  }

  v1::CompressionJob Get(const std::string& id) {
    auto job = coordinator->Get("compressionJobs/" + id);
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : v1::CompressionJob();
  }

  std::vector<v1::JobEvent> Events(const std::string& id, int64_t after = 0) {
    auto page = coordinator->Events("compressionJobs/" + id, after, 1000);
    EXPECT_TRUE(page.ok()) << page.status();
    return page.ok() ? page->events : std::vector<v1::JobEvent>();
  }

  std::vector<std::string> Messages(const std::string& id) {
    std::vector<std::string> messages;
    for (const v1::JobEvent& event : Events(id)) messages.push_back(event.message());
    return messages;
  }

  void Pass(double seconds) {
    clock.Pass(seconds);
    coordinator->Tick();
  }

  CoordinatorOptions options;
  MovedClock clock;
  ScriptedPublisher publisher;
  std::unique_ptr<FlakyStore> store;
  std::unique_ptr<Coordinator> coordinator;
};

}  // namespace calipress::fleet
