// What clients ask of a coordinator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/server/fleet/testing_coordinator.h"

namespace calipress::fleet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class CoordinatorJobs : public CoordinatorTest {};

TEST_F(CoordinatorJobs, AcceptsAJob) {
  Submission submission = Request("a");
  submission.job.set_state(v1::CompressionJob::SUCCEEDED);  // output only: not taken
  submission.job.mutable_report()->set_output_bytes(5);
  (*submission.job.mutable_labels())["team"] = "x";
  auto job = coordinator->Submit(submission);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->name(), "compressionJobs/a");
  EXPECT_EQ(job->state(), v1::CompressionJob::QUEUED);
  EXPECT_FALSE(job->has_report());
  EXPECT_EQ(job->labels().at("team"), "x");
  EXPECT_EQ(job->uid().size(), 32u);
  EXPECT_FALSE(job->etag().empty());
  EXPECT_TRUE(job->has_create_time());
  EXPECT_EQ(job->progress().message(), "waits for 2 workers, 0 are idle");
  EXPECT_THAT(Messages("a"), ElementsAre("accepted"));
}

TEST_F(CoordinatorJobs, MakesAnIdWhereNoneIsGiven) {
  Submission submission = Request("");
  EXPECT_THAT(coordinator->Submit(submission)->name(), MatchesRegex("compressionJobs/[a-z][a-z0-9-]+[a-z0-9]"));
}

TEST_F(CoordinatorJobs, ARequestIdIsIdempotent) {
  Submission submission = Request("");
  submission.request_id = "r-1";
  submission.request_digest = "body";
  auto first = coordinator->Submit(submission);
  auto again = coordinator->Submit(submission);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(first->name(), again->name());
  EXPECT_EQ(coordinator->FindByRequest("r-1", "body")->value().uid(), first->uid());
  EXPECT_FALSE(coordinator->FindByRequest("r-2", "body")->has_value());
  EXPECT_FALSE(coordinator->FindByRequest("", "body")->has_value());
  submission.request_digest = "another body";
  auto reused = coordinator->Submit(submission);
  EXPECT_EQ(reused.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ErrorReason(reused.status()), reason::kRequestIdReused);
  EXPECT_EQ(ErrorReason(coordinator->FindByRequest("r-1", "x").status()), reason::kRequestIdReused);
}

TEST_F(CoordinatorJobs, RefusesTakenIdsOutputsAndTooMany) {
  Submit("a");
  Submission other = Request("a");
  other.job.set_output("/out/elsewhere");
  EXPECT_EQ(ErrorReason(coordinator->Submit(other).status()), reason::kJobExists);
  other = Request("b");
  for (const char* same : {"file:///out/a/", "/out//a", "/out/./a/", "/out/b/../a", "file:///out/%61"}) {
    other.job.set_output(same);
    EXPECT_EQ(ErrorReason(coordinator->Submit(other).status()), reason::kOutputExists) << same;
  }
  options.max_unfinished_jobs = 1;
  StartCoordinator();
  auto full = coordinator->Submit(Request("c"));
  EXPECT_EQ(full.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReason(full.status()), reason::kQueueFull);
  ASSERT_TRUE(coordinator->Cancel("compressionJobs/a", "").ok());
  EXPECT_TRUE(coordinator->Submit(Request("c")).ok());
}

TEST_F(CoordinatorJobs, PagesThroughAListNewestFirst) {
  for (const char* id : {"a", "b", "c", "d", "e"}) Submit(id);
  ASSERT_TRUE(coordinator->Cancel("compressionJobs/c", "").ok());
  v1::ListCompressionJobsRequest request;
  request.set_page_size(2);
  std::vector<std::string> names;
  int pages = 0;
  do {
    auto page = coordinator->List(request);
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LE(page->compression_jobs_size(), 2);
    for (const auto& job : page->compression_jobs()) names.push_back(job.name().substr(16));
    request.set_page_token(page->next_page_token());
    // Jobs made meanwhile come before the first page and disturb nothing.
    Submit("new-" + std::to_string(++pages));
  } while (!request.page_token().empty());
  EXPECT_THAT(names, ElementsAre("e", "d", "c", "b", "a"));
  EXPECT_EQ(pages, 3);

  request.clear_page_token();
  request.set_page_size(0);
  request.add_states(v1::CompressionJob::CANCELLED);
  auto cancelled = coordinator->List(request);
  ASSERT_EQ(cancelled->compression_jobs_size(), 1);
  EXPECT_EQ(cancelled->compression_jobs(0).name(), "compressionJobs/c");
  EXPECT_EQ(cancelled->next_page_token(), "");
}

TEST_F(CoordinatorJobs, APageTokenIsBoundToItsList) {
  for (const char* id : {"a", "b", "c"}) Submit(id);
  v1::ListCompressionJobsRequest request;
  request.set_page_size(1);
  const std::string token = coordinator->List(request)->next_page_token();
  request.set_page_token(token);
  request.set_page_size(1000000);  // cut down, and free to change
  EXPECT_EQ(coordinator->List(request)->compression_jobs_size(), 2);
  request.add_states(v1::CompressionJob::QUEUED);
  auto other = coordinator->List(request);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Violations(other.status()).at(0).field, "page_token");
  for (const char* bad : {"x", "zz", "00", "2d312e", "312e61626364"}) {
    request.set_page_token(bad);
    EXPECT_EQ(coordinator->List(request).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  request.clear_page_token();
  request.set_page_size(-1);
  EXPECT_EQ(Violations(coordinator->List(request).status()).at(0).field, "page_size");
}

TEST_F(CoordinatorJobs, CancelOfAQueuedJobIsImmediateAndRepeatable) {
  const v1::CompressionJob job = Submit("a");
  auto cancelled = coordinator->Cancel("compressionJobs/a", job.etag());
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->state(), v1::CompressionJob::CANCELLED);
  EXPECT_TRUE(cancelled->has_end_time());
  EXPECT_FALSE(cancelled->has_error());
  EXPECT_EQ(coordinator->Cancel("compressionJobs/a", "")->state(), v1::CompressionJob::CANCELLED);
  EXPECT_EQ(coordinator->Cancel("compressionJobs/a", job.etag()).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ErrorReason(coordinator->Cancel("compressionJobs/none", "").status()), reason::kJobNotFound);
  coordinator->RunPublishing();
  EXPECT_TRUE(publisher.swept.empty());  // it never ran
}

TEST_F(CoordinatorJobs, DeletesOnlyWhatHasEnded) {
  Submit("a");
  auto early = coordinator->Delete("compressionJobs/a");
  EXPECT_EQ(early.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(early), reason::kJobNotTerminal);
  ASSERT_TRUE(coordinator->Cancel("compressionJobs/a", "").ok());
  int news = 0;
  auto subscription = coordinator->Subscribe("compressionJobs/a", [&] { ++news; });
  EXPECT_TRUE(coordinator->Delete("compressionJobs/a").ok());
  EXPECT_EQ(news, 1);
  EXPECT_EQ(coordinator->Get("compressionJobs/a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(coordinator->Events("compressionJobs/a", 0, 10).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(coordinator->Delete("compressionJobs/a")), reason::kJobNotFound);
  Submit("a");  // the name is free again
}

TEST_F(CoordinatorJobs, EventsEndWithTheJob) {
  Submit("a");
  std::vector<int64_t> seen;
  bool ended = false;
  auto subscription = coordinator->Subscribe("compressionJobs/a", [&] {
    // A subscriber may read from inside the call.
    auto page = coordinator->Events("compressionJobs/a", seen.empty() ? 1 : seen.back(), 10);
    ASSERT_TRUE(page.ok());
    for (const auto& event : page->events) seen.push_back(event.sequence());
    ended = page->ended;
  });
  EXPECT_FALSE(coordinator->Events("compressionJobs/a", 0, 10)->ended);
  ASSERT_TRUE(coordinator->Cancel("compressionJobs/a", "").ok());
  EXPECT_THAT(seen, ElementsAre(2));
  EXPECT_TRUE(ended);
  // A full page may have a successor.
  EXPECT_FALSE(coordinator->Events("compressionJobs/a", 0, 2)->ended);
  EXPECT_TRUE(coordinator->Events("compressionJobs/a", 2, 2)->ended);
  subscription.reset();
  seen.clear();
  EXPECT_TRUE(coordinator->Delete("compressionJobs/a").ok());
  EXPECT_TRUE(seen.empty());
}

TEST_F(CoordinatorJobs, ASubscriptionMayEndItself) {
  Submit("a");
  int news = 0;
  std::shared_ptr<void> subscription;
  subscription = coordinator->Subscribe("compressionJobs/a", [&] {
    ++news;
    subscription.reset();
  });
  ASSERT_TRUE(coordinator->Cancel("compressionJobs/a", "").ok());
  ASSERT_TRUE(coordinator->Delete("compressionJobs/a").ok());
  EXPECT_EQ(news, 1);
}

TEST_F(CoordinatorJobs, AStoreThatIsDownRefusesNewJobs) {
  store->down = true;
  auto refused = coordinator->Submit(Request("a"));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(refused.status()), reason::kStoreUnavailable);
  store->down = false;
  EXPECT_EQ(coordinator->Get("compressionJobs/a").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(coordinator->Submit(Request("a")).ok());
}

}  // namespace
}  // namespace calipress::fleet
