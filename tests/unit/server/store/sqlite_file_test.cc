// What only a store in a file can do: come back, be shared by mistake, be newer, be damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "compress/base/error.h"
#include "server/store/job_store.h"
#include "server/store/sqlite_database.h"

namespace calipress::store {
namespace {

using ::testing::HasSubstr;

class SqliteFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              (std::string("store-") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "jobs.db").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
  std::string path_;
};

JobRow Row() {
  JobRow row;
  row.job.set_uid("uid");
  row.job.set_name("compressionJobs/a");
  row.job.set_state(v1::CompressionJob::QUEUED);
  return row;
}

TEST_F(SqliteFile, KeepsJobsOverARestart) {
  {
    auto store = OpenSqliteJobStore(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->Create(Row(), {v1::JobEvent()}).ok());
  }
  auto store = OpenSqliteJobStore(path_);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE((*store)->Get("compressionJobs/a").ok());
  EXPECT_EQ((*store)->Events("uid", 0, 10)->size(), 1u);
}

TEST_F(SqliteFile, RefusesANewerSchema) {
  ASSERT_TRUE(OpenSqliteJobStore(path_).ok());
  {
    auto database = SqliteDatabase::Open(path_);
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE((*database)->Execute("INSERT INTO schema_version (version) VALUES (1000)").ok());
  }
  auto store = OpenSqliteJobStore(path_);
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("newer calipress (schema 1000"));
}

TEST_F(SqliteFile, RefusesAFileThatAnotherCoordinatorUses) {
  auto first = OpenSqliteJobStore(path_);
  ASSERT_TRUE(first.ok());
  auto second = OpenSqliteJobStore(path_);
  EXPECT_EQ(ErrorReason(second.status()), reason::kStoreUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use by another process"));
  EXPECT_TRUE((*first)->Create(Row(), {}).ok());
}

TEST_F(SqliteFile, SaysWhatIsWrongWithTheFile) {
  std::ofstream(path_) << std::string(5000, 'x');
  auto damaged = OpenSqliteJobStore(path_);
  EXPECT_THAT(std::string(damaged.status().message()), HasSubstr("damaged or no database"));
  auto missing = OpenSqliteJobStore((folder_ / "none" / "jobs.db").string());
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("its folder must exist"));
}

}  // namespace
}  // namespace calipress::store
