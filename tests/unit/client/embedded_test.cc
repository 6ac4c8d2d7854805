#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "client/cli/embedded/local_cluster.h"
#include "client/cli/embedded/output_database.h"
#include "client/cli/embedded/program_path.h"
#include "client/cli/embedded/worker_supervisor.h"
#include "client/cli/interrupt.h"
#include "client/cli/uri_argument.h"
#include "compress/base/clock.h"
#include "compress/base/error.h"

namespace calipress::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class EmbeddedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ("calipress-" + std::to_string(getpid()) + "-" +
                                                ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path Script(const std::string& body) {
    const fs::path path = folder_ / "worker.sh";
    std::ofstream(path) << "#!/bin/sh\n" << body;
    fs::permissions(path, fs::perms::owner_all);
    return path;
  }

  WorkerSupervisor::Worker Worker(const std::string& id) {
    return {id, folder_ / (id + ".yaml"), folder_ / (id + ".log")};
  }

  static bool Until(const std::function<bool()>& condition) {
    const Stopwatch stopwatch;
    while (!condition()) {
      if (stopwatch.Seconds() > 20) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }

  fs::path folder_;
};

TEST_F(EmbeddedTest, WorkerThatEndsIsStartedAgainThreeTimes) {
  std::mutex mutex;
  std::vector<absl::Status> given_up;
  WorkerSupervisor supervisor(Script("echo started $1 $2\nexit 7\n"), {Worker("w0")}, [&](absl::Status status) {
    const std::lock_guard lock(mutex);
    given_up.push_back(std::move(status));
  });
  ASSERT_TRUE(Until([&] {
    const std::lock_guard lock(mutex);
    return !given_up.empty();
  }));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const std::lock_guard lock(mutex);
  ASSERT_EQ(given_up.size(), 1);
  EXPECT_EQ(ErrorReason(given_up[0]), reason::kWorkerLost);
  EXPECT_THAT(std::string(given_up[0].message()),
              AllOf(HasSubstr("4 times, last with exit code 7"), HasSubstr("ends with: started --config")));
  std::string expected;
  for (int i = 0; i < 4; ++i) expected += "started --config " + (folder_ / "w0.yaml").string() + "\n";
  EXPECT_EQ(ReadFile(folder_ / "w0.log"), expected);
}

TEST_F(EmbeddedTest, StopEndsWorkersInWordsThenByForce) {
  const fs::path program = Script(
      "case $2 in *polite.yaml) trap 'echo bye; exit 0' TERM ;; *) trap '' TERM ;; esac\n"
      "echo ready\nwhile :; do sleep 0.05; done\n");
  WorkerSupervisor supervisor(program, {Worker("polite"), Worker("deaf")}, [](absl::Status) { FAIL(); });
  for (const char* id : {"polite", "deaf"}) {
    ASSERT_TRUE(Until([&] { return ReadFile(folder_ / (std::string(id) + ".log")) == "ready\n"; }));
  }
  const Stopwatch stopwatch;
  supervisor.Stop(0.5);
  EXPECT_GE(stopwatch.Seconds(), 0.5);
  EXPECT_LT(stopwatch.Seconds(), 5);
  EXPECT_EQ(ReadFile(folder_ / "polite.log"), "ready\nbye\n");
  EXPECT_EQ(ReadFile(folder_ / "deaf.log"), "ready\n");
}

TEST_F(EmbeddedTest, MissingProgramIsGivenUp) {
  std::mutex mutex;
  absl::Status given_up;
  WorkerSupervisor supervisor(folder_ / "nothing", {Worker("w0")}, [&](absl::Status status) {
    const std::lock_guard lock(mutex);
    given_up = std::move(status);
  });
  EXPECT_TRUE(Until([&] {
    const std::lock_guard lock(mutex);
    return !given_up.ok();
  }));
}

TEST_F(EmbeddedTest, DatabaseLiesInTheOutputAndLeavesNothing) {
  const fs::path output = folder_ / "a" / "out";
  auto database = OutputDatabase::Open(output.string());
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(database->path(), (output / "_calipress/jobs.db").string());
  for (const char* suffix : {"", "-wal", "-shm"}) std::ofstream(database->path() + suffix) << "x";
  database->Remove();
  EXPECT_FALSE(fs::exists(folder_ / "a"));
}

TEST_F(EmbeddedTest, DatabaseSparesWhatIsNotItsOwn) {
  const fs::path output = folder_ / "out";
  auto database = OutputDatabase::Open("file://" + output.string());
  ASSERT_TRUE(database.ok()) << database.status();
  std::ofstream(output / "config.json") << "{}";
  fs::create_directories(output / "_calipress" / "uid");
  std::ofstream(output / "_calipress" / "uid" / "block") << "x";
  database->Remove();
  EXPECT_TRUE(fs::exists(output / "config.json"));
  EXPECT_TRUE(fs::exists(output / "_calipress" / "uid" / "block"));
  EXPECT_FALSE(fs::exists(output / "_calipress" / "jobs.lock"));
}

TEST_F(EmbeddedTest, SecondRunToTheSameOutputIsRefused) {
  const auto first = OutputDatabase::Open((folder_ / "out").string());
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(ErrorReason(OutputDatabase::Open((folder_ / "out").string()).status()), reason::kOutputExists);
}

TEST_F(EmbeddedTest, OutputThatIsAFileIsRefused) {
  std::ofstream(folder_ / "file") << "x";
  EXPECT_EQ(ErrorReason(OutputDatabase::Open((folder_ / "file").string()).status()), reason::kOutputExists);
  EXPECT_EQ(ErrorReason(OutputDatabase::Open((folder_ / "file" / "out").string()).status()), reason::kOutputExists);
}

TEST_F(EmbeddedTest, ObjectStoresHaveTheDatabaseInMemory) {
  auto database = OutputDatabase::Open("s3://bucket/out");
  ASSERT_TRUE(database.ok());
  EXPECT_EQ(database->path(), ":memory:");
  database->Remove();
}

TEST_F(EmbeddedTest, ProgramsAreFoundInPath) {
  const auto shell = FindProgram("sh");
  ASSERT_TRUE(shell.ok());
  EXPECT_EQ(shell->filename(), "sh");
  EXPECT_TRUE(absl::IsNotFound(FindProgram("calipress-no-such-program").status()));
}

TEST(WorkerConfigTest, TextsAreQuoted) {
  const std::string yaml = WorkerConfigYaml({"127.0.0.1:7", "worker-0", "cpu", 3, "/tmp/a \"b\": c/x.log"});
  EXPECT_THAT(yaml, HasSubstr("coordinator: \"127.0.0.1:7\"\n"));
  EXPECT_THAT(yaml, HasSubstr("threads: 3\n"));
  EXPECT_THAT(yaml, HasSubstr("log_file: \"/tmp/a \\\"b\\\": c/x.log\"\n"));
}

TEST(WorkerConfigTest, ThreadsAreSharedOut) {
  EXPECT_GE(DefaultThreads(1), 1);
  EXPECT_EQ(DefaultThreads(100000), 1);
  EXPECT_LE(2 * DefaultThreads(2), std::max(2, DefaultThreads(1)));
}

TEST(InterruptTest, FirstAndSecondSignal) {
  const Interrupt interrupt;
  EXPECT_FALSE(interrupt.first().cancelled());
  kill(getpid(), SIGINT);
  const Stopwatch stopwatch;
  while (!interrupt.first().cancelled() && stopwatch.Seconds() < 10) std::this_thread::yield();
  EXPECT_TRUE(interrupt.first().cancelled());
  EXPECT_FALSE(interrupt.second().cancelled());
  kill(getpid(), SIGTERM);
  while (!interrupt.second().cancelled() && stopwatch.Seconds() < 10) std::this_thread::yield();
  EXPECT_TRUE(interrupt.second().cancelled());
}

TEST(UriArgumentTest, PathsBecomeAbsoluteAndUrisStay) {
  const std::string here = fs::current_path().string();
  EXPECT_EQ(UriArgument("a/b"), here + "/a/b");
  EXPECT_EQ(UriArgument("./a/../b/"), here + "/b");
  EXPECT_EQ(UriArgument("/x//y/"), "/x/y");
  EXPECT_EQ(UriArgument("/"), "/");
  EXPECT_EQ(UriArgument("s3://bucket/../x/"), "s3://bucket/../x/");
  EXPECT_EQ(UriArgument("file:///x"), "file:///x");
  EXPECT_EQ(UriArgument(""), "");
}

TEST(UriArgumentTest, EveryUriOfARecipe) {
  v1::Recipe recipe;
  recipe.mutable_calibration()->add_sources()->mutable_text()->set_uri("t.jsonl");
  recipe.mutable_calibration()->add_sources()->mutable_token_ids()->set_uri("i.npy");
  recipe.mutable_evaluation()->add_perplexity()->set_uri("e.txt");
  recipe.mutable_evaluation()->set_reference("m");
  recipe.mutable_calibration()->add_sources()->mutable_prefix_generated()->mutable_prefixes()->set_uri("p.jsonl");
  recipe.mutable_evaluation()->add_multiple_choice()->set_uri("q.jsonl");
  recipe.mutable_study()->add_sources()->add_sources()->mutable_instructions()->set_uri("c.jsonl");
  MakeUrisAbsolute(&recipe);
  const std::string here = fs::current_path().string() + "/";
  EXPECT_EQ(recipe.calibration().sources(0).text().uri(), here + "t.jsonl");
  EXPECT_EQ(recipe.calibration().sources(1).token_ids().uri(), here + "i.npy");
  EXPECT_EQ(recipe.evaluation().perplexity(0).uri(), here + "e.txt");
  EXPECT_EQ(recipe.evaluation().reference(), here + "m");
  EXPECT_EQ(recipe.calibration().sources(2).prefix_generated().prefixes().uri(), here + "p.jsonl");
  EXPECT_EQ(recipe.evaluation().multiple_choice(0).uri(), here + "q.jsonl");
  EXPECT_EQ(recipe.study().sources(0).sources(0).instructions().uri(), here + "c.jsonl");
  v1::Recipe empty;
  MakeUrisAbsolute(&empty);
  EXPECT_FALSE(empty.has_calibration() || empty.has_evaluation());
}

TEST(UriArgumentTest, JobNames) {
  EXPECT_EQ(JobName("a"), "compressionJobs/a");
  EXPECT_EQ(JobName("compressionJobs/a"), "compressionJobs/a");
}

}  // namespace
}  // namespace calipress::cli
