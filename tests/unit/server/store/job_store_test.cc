// What every job store must do; each implementation is one line in INSTANTIATE below.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "compress/base/error.h"
#include "server/store/job_store.h"

namespace calipress::store {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

struct Implementation {
  const char* name;
  std::function<absl::StatusOr<std::unique_ptr<JobStore>>()> open;
};

JobRow Row(const std::string& id, const std::string& request_id = "") {
  JobRow row;
  row.job.set_uid("uid-" + id);
  row.job.set_name("compressionJobs/" + id);
  row.job.set_state(v1::CompressionJob::QUEUED);
  row.job.mutable_create_time()->set_seconds(1000);
  row.request_id = request_id;
  row.request_digest = request_id.empty() ? "" : "digest";
  return row;
}

v1::JobEvent Event(const std::string& message) {
  v1::JobEvent event;
  event.set_message(message);
  return event;
}

AttemptRow Attempt(int number, int ranks) {
  AttemptRow attempt;
  attempt.number = number;
  attempt.phase = 1;
  attempt.rendezvous = "host:1";
  for (int rank = 0; rank < ranks; ++rank) {
    LeaseRow lease;
    lease.rank = rank;
    lease.token = "token-" + std::to_string(number) + "-" + std::to_string(rank);
    lease.worker_id = "w-" + std::to_string(rank);
    lease.session_id = "s";
    lease.device = "cpu";
    lease.first_block = rank * 2;
    lease.end_block = rank * 2 + 2;
    lease.state = 1;
    lease.stage.set_phase("compress");
    attempt.leases.push_back(lease);
  }
  return attempt;
}

BlockRow Block(int attempt, int index) {
  BlockRow block;
  block.attempt = attempt;
  block.block.set_index(index);
  block.block.set_uri("attempt-" + std::to_string(attempt));
  return block;
}

class JobStoreConformance : public ::testing::TestWithParam<Implementation> {
 protected:
  void SetUp() override {
    auto opened = GetParam().open();
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = std::move(*opened);
  }

  void Change(const std::string& id, v1::CompressionJob::State state) {
    JobChange change;
    change.uid = "uid-" + id;
    change.job = Row(id).job;
    change.job->set_state(state);
    ASSERT_TRUE(store_->Apply(change).ok());
  }

  std::vector<std::string> Names(const ListQuery& query) {
    std::vector<std::string> names;
    const auto rows = store_->List(query);
    for (const JobRow& row : *rows) names.push_back(row.job.name().substr(16));
    return names;
  }

  std::unique_ptr<JobStore> store_;
};

TEST_P(JobStoreConformance, KeepsAJob) {
  JobRow row = Row("a", "request");
  row.job.mutable_recipe()->add_steps()->mutable_gptq()->set_bits(4);
  row.job.mutable_report()->set_output_bytes(7);  // kept apart, so not kept here
  auto order = store_->Create(row, {Event("accepted")});
  ASSERT_TRUE(order.ok()) << order.status();
  auto got = store_->Get("compressionJobs/a");
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->job.recipe().steps(0).gptq().bits(), 4);
  EXPECT_FALSE(got->job.has_report());
  EXPECT_EQ(got->order, *order);
  EXPECT_EQ(got->request_id, "request");
  auto found = store_->FindByRequest("request");
  ASSERT_TRUE(found.ok() && found->has_value());
  EXPECT_EQ((*found)->request_digest, "digest");
  EXPECT_FALSE(store_->FindByRequest("other")->has_value());
  EXPECT_EQ(store_->GetReport("uid-a")->output_bytes(), 0);
}

TEST_P(JobStoreConformance, RefusesATakenNameOrRequestIdWhole) {
  ASSERT_TRUE(store_->Create(Row("a", "request"), {Event("1")}).ok());
  auto same_name = Row("a");
  same_name.job.set_uid("uid-other");
  EXPECT_EQ(ErrorReason(store_->Create(same_name, {Event("2")}).status()), reason::kJobExists);
  EXPECT_EQ(ErrorReason(store_->Create(Row("b", "request"), {}).status()), reason::kRequestIdReused);
  EXPECT_EQ(store_->Events("uid-a", 0, 10)->size(), 1u);
  EXPECT_EQ(store_->Get("compressionJobs/b").status().code(), absl::StatusCode::kNotFound);
  // Two jobs without a request id are no conflict.
  EXPECT_TRUE(store_->Create(Row("c"), {}).ok());
  EXPECT_TRUE(store_->Create(Row("d"), {}).ok());
}

TEST_P(JobStoreConformance, MissingJobsAreNotFound) {
  EXPECT_EQ(ErrorReason(store_->Get("compressionJobs/none").status()), reason::kJobNotFound);
  EXPECT_EQ(ErrorReason(store_->GetReport("none").status()), reason::kJobNotFound);
  JobChange change;
  change.uid = "none";
  change.events = {Event("lost")};
  EXPECT_EQ(store_->Apply(change).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Delete("none").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*store_->Events("none", 0, 10), IsEmpty());
}

TEST_P(JobStoreConformance, ListsNewestFirstInPagesByState) {
  for (const char* id : {"a", "b", "c", "d"}) ASSERT_TRUE(store_->Create(Row(id), {}).ok());
  Change("b", v1::CompressionJob::RUNNING);
  EXPECT_THAT(Names({}), ElementsAre("d", "c", "b", "a"));
  ListQuery page;
  page.limit = 2;
  EXPECT_THAT(Names(page), ElementsAre("d", "c"));
  page.before_order = store_->Get("compressionJobs/c")->order;
  EXPECT_THAT(Names(page), ElementsAre("b", "a"));
  page.states = {v1::CompressionJob::QUEUED};
  EXPECT_THAT(Names(page), ElementsAre("a"));
  page.states = {v1::CompressionJob::QUEUED, v1::CompressionJob::RUNNING};
  EXPECT_THAT(Names(page), ElementsAre("b", "a"));
  EXPECT_THAT(*store_->CountByState(),
              UnorderedElementsAre(Pair(v1::CompressionJob::QUEUED, 3), Pair(v1::CompressionJob::RUNNING, 1)));
}

TEST_P(JobStoreConformance, OrdersAreNeverUsedAgain) {
  const int64_t first = *store_->Create(Row("a"), {});
  ASSERT_TRUE(store_->Delete("uid-a").ok());
  EXPECT_GT(*store_->Create(Row("a"), {}), first);
}

TEST_P(JobStoreConformance, SequencesHaveNoGaps) {
  ASSERT_TRUE(store_->Create(Row("a"), {Event("1")}).ok());
  JobChange change;
  change.uid = "uid-a";
  change.events = {Event("2"), Event("3")};
  ASSERT_TRUE(store_->Apply(change).ok());
  change.events = {Event("4")};
  ASSERT_TRUE(store_->Apply(change).ok());
  auto events = store_->Events("uid-a", 0, 100);
  ASSERT_EQ(events->size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ((*events)[i].sequence(), static_cast<int64_t>(i + 1));
    EXPECT_EQ((*events)[i].message(), std::to_string(i + 1));
  }
  EXPECT_EQ(store_->Events("uid-a", 1, 2)->front().sequence(), 2);
  EXPECT_EQ(store_->Events("uid-a", 1, 2)->size(), 2u);
  EXPECT_THAT(*store_->Events("uid-a", 4, 10), IsEmpty());
}

TEST_P(JobStoreConformance, SequencesHaveNoGapsUnderConcurrentChanges) {
  ASSERT_TRUE(store_->Create(Row("a"), {}).ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      JobChange change;
      change.uid = "uid-a";
      change.events = {Event("x"), Event("y")};
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(store_->Apply(change).ok());
    });
  }
  for (auto& thread : threads) thread.join();
  auto events = store_->Events("uid-a", 0, 1000);
  ASSERT_EQ(events->size(), 80u);
  for (int i = 0; i < 80; ++i) EXPECT_EQ((*events)[i].sequence(), i + 1);
}

TEST_P(JobStoreConformance, GivesBackWhatACoordinatorNeedsToGoOn) {
  ASSERT_TRUE(store_->Create(Row("a", "request"), {}).ok());
  ASSERT_TRUE(store_->Create(Row("b"), {}).ok());
  JobChange change;
  change.uid = "uid-a";
  change.attempt = Attempt(1, 2);
  change.blocks = {Block(1, 2), Block(1, 0)};
  ASSERT_TRUE(store_->Apply(change).ok());
  change.attempt = Attempt(2, 3);
  change.blocks = {Block(2, 2), Block(2, 1)};  // block 2 is there already: the first one stays
  change.calibration_ids_uri = "ids";
  change.earlier_phases.emplace().add_phases()->set_name("compress");
  ASSERT_TRUE(store_->Apply(change).ok());

  auto active = store_->LoadActive();
  ASSERT_TRUE(active.ok()) << active.status();
  ASSERT_EQ(active->size(), 2u);
  const ActiveJob& a = (*active)[0];
  EXPECT_EQ(a.row.job.name(), "compressionJobs/a");
  EXPECT_EQ(a.row.request_id, "request");
  ASSERT_TRUE(a.attempt.has_value());
  EXPECT_EQ(a.attempt->number, 2);
  EXPECT_EQ(a.attempt->rendezvous, "host:1");
  ASSERT_EQ(a.attempt->leases.size(), 3u);
  const LeaseRow& lease = a.attempt->leases[2];
  EXPECT_EQ(lease.token, "token-2-2");
  EXPECT_EQ(lease.worker_id, "w-2");
  EXPECT_EQ(lease.session_id, "s");
  EXPECT_EQ(lease.device, "cpu");
  EXPECT_EQ(lease.first_block, 4);
  EXPECT_EQ(lease.end_block, 6);
  EXPECT_EQ(lease.state, 1);
  EXPECT_EQ(lease.stage.phase(), "compress");
  ASSERT_EQ(a.blocks.size(), 3u);
  EXPECT_EQ(a.blocks[0].block.index(), 0);
  EXPECT_EQ(a.blocks[2].block.index(), 2);
  EXPECT_EQ(a.blocks[2].attempt, 1);
  EXPECT_EQ(a.blocks[2].block.uri(), "attempt-1");
  EXPECT_EQ(a.calibration_ids_uri, "ids");
  EXPECT_EQ(a.earlier_phases.phases(0).name(), "compress");
  EXPECT_FALSE((*active)[1].attempt.has_value());
}

TEST_P(JobStoreConformance, EndedJobsKeepTheirReportAndDropTheirAttempt) {
  ASSERT_TRUE(store_->Create(Row("a"), {Event("accepted")}).ok());
  JobChange change;
  change.uid = "uid-a";
  change.attempt = Attempt(1, 1);
  change.blocks = {Block(1, 0)};
  ASSERT_TRUE(store_->Apply(change).ok());
  JobChange end;
  end.uid = "uid-a";
  end.job = Row("a").job;
  end.job->set_state(v1::CompressionJob::SUCCEEDED);
  end.report.emplace().set_output_bytes(99);
  end.needs_sweep = true;
  ASSERT_TRUE(store_->Apply(end).ok());
  EXPECT_THAT(*store_->LoadActive(), IsEmpty());
  EXPECT_EQ(store_->GetReport("uid-a")->output_bytes(), 99);
  ASSERT_EQ(store_->LoadUnswept()->size(), 1u);
  JobChange swept;
  swept.uid = "uid-a";
  swept.needs_sweep = false;
  ASSERT_TRUE(store_->Apply(swept).ok());
  EXPECT_THAT(*store_->LoadUnswept(), IsEmpty());
  EXPECT_EQ(store_->Events("uid-a", 0, 10)->size(), 1u);
  ASSERT_TRUE(store_->Delete("uid-a").ok());
  EXPECT_THAT(*store_->Events("uid-a", 0, 10), IsEmpty());
}

TEST_P(JobStoreConformance, RunningJobsThatNeedASweepAreLeftAlone) {
  ASSERT_TRUE(store_->Create(Row("a"), {}).ok());
  JobChange change;
  change.uid = "uid-a";
  change.needs_sweep = true;
  ASSERT_TRUE(store_->Apply(change).ok());
  EXPECT_THAT(*store_->LoadUnswept(), IsEmpty());
}

TEST_P(JobStoreConformance, ADeletedJobThatNeedsASweepIsRememberedUntilItIsSwept) {
  ASSERT_TRUE(store_->Create(Row("a"), {}).ok());
  ASSERT_TRUE(store_->Create(Row("b"), {}).ok());
  JobChange end;
  end.uid = "uid-a";
  end.job = Row("a").job;
  end.job->set_state(v1::CompressionJob::CANCELLED);
  end.needs_sweep = true;
  ASSERT_TRUE(store_->Apply(end).ok());
  ASSERT_TRUE(store_->Delete("uid-a").ok());
  ASSERT_TRUE(store_->Delete("uid-b").ok());
  EXPECT_EQ(store_->Get("compressionJobs/a").status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(store_->LoadUnswept()->size(), 1u);
  EXPECT_EQ(store_->LoadUnswept()->at(0).uid(), "uid-a");
  ASSERT_TRUE(store_->Create(Row("a"), {}).status().ok()) << "its name is free";
  ASSERT_TRUE(store_->Delete("uid-a").ok());
  JobChange swept;
  swept.uid = "uid-a";
  swept.needs_sweep = false;
  EXPECT_TRUE(store_->Apply(swept).ok());
  EXPECT_THAT(*store_->LoadUnswept(), IsEmpty());
  EXPECT_EQ(store_->Apply(swept).code(), absl::StatusCode::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(Stores, JobStoreConformance,
                         ::testing::Values(Implementation{"sqlite", [] { return OpenSqliteJobStore(":memory:"); }}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace calipress::store
