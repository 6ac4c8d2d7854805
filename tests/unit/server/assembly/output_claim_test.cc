// Two coordinators that know nothing of each other publish into one folder.
#include "server/assembly/output_claim.h"

#include <atomic>
#include <functional>
#include <thread>

#include "tests/unit/server/assembly/testing_publishing.h"

namespace calipress::assembly {
namespace {

constexpr OutputClaim::Patience kPatience{0.01, 20};

// Calls back before each change and each list, with how many there were.
class WatchedStore : public storage::ObjectStore {
 public:
  explicit WatchedStore(storage::ObjectStore& store) : store_(store) {}
  std::function<void(int)> before_change = [](int) {};
  std::function<void(int)> before_list = [](int) {};

  absl::StatusOr<std::unique_ptr<storage::ObjectReader>> Open(const std::string& uri) override {
    return store_.Open(uri);
  }
  absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> Create(const std::string& uri) override {
    before_change(changes_++);
    return store_.Create(uri);
  }
  absl::StatusOr<storage::ObjectInfo> Stat(const std::string& uri) override { return store_.Stat(uri); }
  absl::StatusOr<std::vector<storage::ObjectInfo>> List(const std::string& uri) override {
    before_list(lists_++);
    return store_.List(uri);
  }
  absl::Status Move(const std::string& from, const std::string& to) override {
    before_change(changes_++);
    return store_.Move(from, to);
  }
  absl::Status Delete(const std::string& uri) override {
    before_change(changes_++);
    return store_.Delete(uri);
  }
  absl::Status DeleteFolder(const std::string& uri) override {
    before_change(changes_++);
    return store_.DeleteFolder(uri);
  }
  int changes() const { return changes_; }

 private:
  storage::ObjectStore& store_;
  std::atomic<int> changes_ = 0;
  std::atomic<int> lists_ = 0;
};

class MovedClock : public Clock {
 public:
  WallTime Wall() const override { return Clock::System().Wall() + passed; }
  SteadyTime Steady() const override { return Clock::System().Steady() + passed; }
  std::chrono::seconds passed{0};
};

// A second job of another coordinator, same model, recipe and output.
class OutputClaimTest : public PublishingTest {
 protected:
  struct Job {
    v1::CompressionJob job;
    std::vector<worker::v1::StageOutcome> outcomes;
    std::map<std::string, std::string> shards;  // name -> bytes
  };

  // Stages a job whose weights end with `mark`.
  Job Make(const std::string& uid, char mark) {
    job_.set_uid(uid);
    job_.set_name("compressionJobs/" + uid);
    job_.set_state(v1::CompressionJob::RUNNING);
    Stage(3);
    Job made{job_, outcomes_, {}};
    for (const auto& outcome : outcomes_) {
      for (const auto& shard : outcome.shards()) {
        std::string bytes = ReadFile(shard.uri());
        bytes.back() = mark;
        WriteFile(shard.uri(), bytes);
        made.shards[shard.file()] = bytes;
      }
    }
    return made;
  }

  absl::Status Publish(storage::ObjectStore& store, const Job& job, const Clock& clock = Clock::System()) {
    v1::Report report = report_;
    report.add_warnings("of " + job.job.uid());
    return CheckpointPublisher(&store, clock, kPatience).Publish(job.job, job.outcomes, {}, {}, &report);
  }

  void Sweep(Job& job, const absl::Status& ended) {
    job.job.set_state(ended.ok() ? v1::CompressionJob::SUCCEEDED : v1::CompressionJob::FAILED);
    const absl::Status swept = publisher_.Sweep(job.job);
    EXPECT_TRUE(swept.ok()) << swept;
  }

  void ExpectWhole(const Job& job, const std::string& when) {
    EXPECT_EQ(Output(), kThreeShards) << when;
    for (const auto& [name, bytes] : job.shards) {
      EXPECT_TRUE(ReadFile(folder_ / ("out/" + name)) == bytes) << name << " is another job's, " << when;
    }
    EXPECT_NE(ReadFile(folder_ / "out/report.json").find("of " + job.job.uid()), std::string::npos) << when;
  }

  std::string ClaimOf(const std::string& uid) const { return folder_ / ("out/_calipress/claim-" + uid + ".json"); }

  static std::string ClaimText(const std::string& uid, Clock::WallTime renewed = Clock::System().Wall()) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(renewed.time_since_epoch()).count();
    return nlohmann::json{{"job", "compressionJobs/" + uid}, {"renewed_seconds", seconds}}.dump();
  }
};

// The other job publishes as a whole, in between any two changes of the first.
TEST_F(OutputClaimTest, OneOfTwoPublishersWinsAndItsCheckpointIsItsOwn) {
  for (const std::string second_uid : {"uid-0", "uid-9"}) {
    bool done = false;
    // Which uid is the greater decides until the claim is held.
    const int last = second_uid == "uid-0" ? 1000 : 2;
    for (int at = 0; !done && at <= last; ++at) {
      fs::remove_all(folder_ / "out");
      Job first = Make("uid-5", 'a');
      Job second = Make(second_uid, 'b');
      const std::string when = "with " + second_uid + " before change " + std::to_string(at);
      WatchedStore watched(*store_);
      absl::Status other = absl::UnknownError("not run");
      watched.before_change = [&](int change) {
        if (change == at) other = Publish(*store_, second);
      };
      const absl::Status status = Publish(watched, first);
      done = watched.changes() <= at;
      if (done) break;
      ASSERT_NE(status.ok(), other.ok()) << when << ": " << status << ", " << other;
      EXPECT_EQ(ErrorReason(status.ok() ? other : status), reason::kOutputExists) << when;
      Job& winner = status.ok() ? first : second;
      ExpectWhole(winner, when);
      Sweep(status.ok() ? second : first, absl::UnknownError(""));
      ExpectWhole(winner, when + ", once the loser was swept");
      Sweep(winner, absl::OkStatus());
      ExpectWhole(winner, when + ", once both were swept");
      EXPECT_FALSE(fs::exists(folder_ / "out/_calipress")) << when;
    }
  }
}

// As fast as two threads can, from the same moment.
TEST_F(OutputClaimTest, TwoThatRaceDoNotMix) {
  for (int round = 0; round < 4; ++round) {
    fs::remove_all(folder_ / "out");
    Job first = Make("uid-1", 'a');
    Job second = Make("uid-2", 'b');
    std::atomic<int> ready = 0;
    absl::Status ends[2];
    const auto run = [&](Job& job, absl::Status& end) {
      ++ready;
      while (ready < 2) std::this_thread::yield();
      end = Publish(*store_, job);
    };
    {
      std::jthread one([&] { run(first, ends[0]); });
      std::jthread two([&] { run(second, ends[1]); });
    }
    ASSERT_NE(ends[0].ok(), ends[1].ok()) << ends[0] << ", " << ends[1];
    ExpectWhole(ends[0].ok() ? first : second, "round " + std::to_string(round));
  }
}

TEST_F(OutputClaimTest, ALiveClaimOfAnotherJobIsRefusedAndNothingTouched) {
  Job job = Make("uid-1", 'a');
  WriteFile(folder_ / "out/_calipress/uid-0/attempt-1/block", "another job's");
  WriteFile(ClaimOf("uid-0"), ClaimText("uid-0"));
  const absl::Status status = Publish(*store_, job);
  EXPECT_EQ(ErrorReason(status), reason::kOutputExists) << status;
  EXPECT_EQ(ErrorClassOf(status), ErrorClass::kUser);
  EXPECT_NE(status.message().find("compressionJobs/uid-0"), std::string::npos) << status;
  EXPECT_TRUE(Output().empty());
  EXPECT_FALSE(fs::exists(ClaimOf("uid-1")));
  Sweep(job, status);
  EXPECT_TRUE(fs::exists(ClaimOf("uid-0")));
}

TEST_F(OutputClaimTest, AClaimOfADeadJobDoesNotBlock) {
  const auto now = Clock::System().Wall();
  const std::vector<std::pair<std::string, std::function<void()>>> dead = {
      {"its staging folder is gone", [&] { WriteFile(ClaimOf("uid-0"), ClaimText("uid-0", now)); }},
      {"it was not renewed for hours",
       [&] {
         WriteFile(folder_ / "out/_calipress/uid-0/attempt-1/block", "of a killed program");
         WriteFile(ClaimOf("uid-0"), ClaimText("uid-0", now - std::chrono::hours(2)));
       }},
      {"it is no claim", [&] {
         WriteFile(folder_ / "out/_calipress/uid-0/attempt-1/block", "of a killed program");
         WriteFile(ClaimOf("uid-0"), "{");
       }}};
  for (const auto& [what, write] : dead) {
    fs::remove_all(folder_ / "out");
    Job job = Make("uid-1", 'a');
    write();
    const absl::Status status = Publish(*store_, job);
    EXPECT_TRUE(status.ok()) << what << ": " << status;
    EXPECT_FALSE(fs::exists(ClaimOf("uid-0"))) << what;
  }
}

// Its coordinator was away for hours after it had begun; another job has published meanwhile, and was swept.
TEST_F(OutputClaimTest, AJobWhoseClaimWasTakenOverPublishesNoMoreAndTakesNothingBack) {
  Job first = Make("uid-1", 'a');
  WatchedStore cut(*store_);
  // Claim and marker are written, nothing is moved.
  cut.before_change = [&](int change) {
    if (change == 2) throw 1;
  };
  EXPECT_ANY_THROW((void)Publish(cut, first));
  ASSERT_TRUE(fs::exists(ClaimOf("uid-1")));
  ASSERT_TRUE(fs::exists(folder_ / "out/_calipress/uid-1/publishing.json"));
  MovedClock later;
  later.passed = std::chrono::hours(2);
  Job second = Make("uid-2", 'b');
  ASSERT_TRUE(Publish(*store_, second, later).ok());
  Sweep(second, absl::OkStatus());
  const absl::Status again = Publish(*store_, first, later);
  EXPECT_EQ(ErrorReason(again), reason::kOutputExists) << again;
  Sweep(first, again);
  ExpectWhole(second, "after the late one was swept");
}

TEST_F(OutputClaimTest, GoesOnUnderItsOwnOldClaim) {
  Job job = Make("uid-1", 'a');
  WatchedStore cut(*store_);
  cut.before_change = [&](int change) {
    if (change == 4) throw 1;
  };
  EXPECT_ANY_THROW((void)Publish(cut, job));
  MovedClock later;
  later.passed = std::chrono::hours(2);
  EXPECT_TRUE(Publish(*store_, job, later).ok());
  ExpectWhole(job, "hours later");
}

// Both have written before either looked.
TEST_F(OutputClaimTest, OfTwoThatSeeEachOtherTheGreaterWithdraws) {
  Job job = Make("uid-5", 'a');
  const auto tie = [&](const std::string& other, bool withdraws) {
    WriteFile(folder_ / ("out/_calipress/" + other + "/attempt-1/block"), "another job's");
    WatchedStore watched(*store_);
    watched.before_change = [&](int) { WriteFile(ClaimOf(other), ClaimText(other)); };
    int looks = 0;
    watched.before_list = [&](int) {
      if (++looks > 6 && withdraws) fs::remove(ClaimOf(other));
    };
    OutputClaim claim(watched, job.job, Clock::System(), kPatience);
    const absl::Status status = claim.Take(/*begun=*/false);
    fs::remove(ClaimOf(other));
    return status;
  };
  EXPECT_TRUE(tie("uid-9", /*withdraws=*/true).ok());
  EXPECT_TRUE(fs::exists(ClaimOf("uid-5")));
  fs::remove(ClaimOf("uid-5"));
  EXPECT_EQ(ErrorReason(tie("uid-9", /*withdraws=*/false)), reason::kOutputExists) << "it has the output already";
  EXPECT_FALSE(fs::exists(ClaimOf("uid-5")));
  EXPECT_EQ(ErrorReason(tie("uid-0", /*withdraws=*/false)), reason::kOutputExists);
  EXPECT_FALSE(fs::exists(ClaimOf("uid-5")));
}

}  // namespace
}  // namespace calipress::assembly
