// Failures of real file systems and a real closed port, and what they are called.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/storage/object_store.h"
#include "gtest/gtest.h"
#include "tests/unit/compress/storage/testing_folder.h"

namespace calipress::storage {
namespace {

TEST(StorageFailures, FullDiskIsStorageFullAndLeavesNothing) {
  TestingFolder folder;
  auto store = OpenObjectStore();
  // The kernel's own limit on a file's size: the same path as a full disk (EFBIG for ENOSPC), without one.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{65536, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = store->WriteAll(folder / "big", std::string(1 << 20, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, previous);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(ErrorReason(status), reason::kStorageFull);
  EXPECT_EQ(ErrorClassOf(status), ErrorClass::kUser);
  EXPECT_NE(status.message().find("big"), absl::string_view::npos);
  EXPECT_EQ(folder.files(), 0);
}

TEST(StorageFailures, NoPermission) {
  TestingFolder folder;
  std::filesystem::create_directory(folder / "closed");
  auto store = OpenObjectStore();
  ASSERT_TRUE(store->WriteAll(folder / "closed/secret", "x").ok());
  std::filesystem::permissions(folder / "closed/secret", std::filesystem::perms::none);
  std::filesystem::permissions(folder / "closed",
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec |
                                   std::filesystem::perms::others_read | std::filesystem::perms::others_exec);
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  // Root may do everything; be somebody else for a moment.
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(seteuid(65534), 0);
  }
  const absl::Status read = store->Open(folder / "closed/secret").status();
  const absl::Status write = store->WriteAll(folder / "closed/new", "x");
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  std::filesystem::permissions(folder / "closed", std::filesystem::perms::all);
  for (const absl::Status& status : {read, write}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    EXPECT_EQ(ErrorReason(status), reason::kStoragePermissionDenied);
  }
}

TEST(StorageFailures, LocalMoveNeverReplaces) {
  TestingFolder folder;
  auto store = OpenObjectStore();
  ASSERT_TRUE(store->WriteAll(folder / "a/x", "1").ok());
  ASSERT_TRUE(store->WriteAll(folder / "b/x", "2").ok());
  const absl::Status file = store->Move(folder / "a/x", folder / "b/x");
  EXPECT_EQ(file.code(), absl::StatusCode::kAlreadyExists) << file;
  EXPECT_EQ(ErrorReason(file), reason::kOutputExists);
  // A whole folder in one step: how a finished checkpoint is published on a disk.
  EXPECT_EQ(store->Move(folder / "a", folder / "b").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(store->Move(folder / "a", folder / "new/c").ok());
  EXPECT_EQ(*store->ReadAll(folder / "new/c/x", 1), "1");
  EXPECT_EQ(*store->ReadAll(folder / "b/x", 1), "2");
}

TEST(StorageFailures, MoveBetweenStoresIsRefused) {
  const absl::Status status = OpenObjectStore()->Move("/tmp/x", "s3://bucket/x");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

TEST(StorageFailures, FileInPlaceOfAFolder) {
  TestingFolder folder;
  auto store = OpenObjectStore();
  ASSERT_TRUE(store->WriteAll(folder / "file", "x").ok());
  EXPECT_EQ(store->Open(folder / "file/below").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(store->WriteAll(folder / "file/below", "y").ok());
  EXPECT_EQ(store->Create(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store->Open(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*store->ReadAll(folder / "file", 1), "x");
}

TEST(StorageFailures, RefusedConnectionIsUnavailableSoon) {
  // A port that was free a moment ago.
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  StorageOptions options;
  options.s3_endpoint = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  auto store = OpenObjectStore(options);
  const Stopwatch watch;
  const absl::Status status = store->Open("s3://key:hidden@bucket/name").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(ErrorReason(status), reason::kStorageUnavailable);
  EXPECT_EQ(ErrorClassOf(status), ErrorClass::kEnvironment);
  EXPECT_NE(status.message().find("s3://bucket/name"), absl::string_view::npos) << status;
  EXPECT_EQ(status.message().find("hidden"), absl::string_view::npos) << status;
  EXPECT_LT(watch.Seconds(), 20);
}

TEST(StorageFailures, HangingServerIsUnavailableInBoundedTime) {
  // Accepts connections (the kernel does) and never answers.
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_EQ(listen(fd, 16), 0);
  StorageOptions options;
  options.s3_endpoint = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const Stopwatch watch;
  const absl::Status status = OpenObjectStore(options)->Stat("s3://key:hidden@bucket/name").status();
  close(fd);
  EXPECT_EQ(ErrorReason(status), reason::kStorageUnavailable) << status;
  EXPECT_LT(watch.Seconds(), 25);
}

// On a real server alone: tests/conformance/object_store.sh.
TEST(StorageFailures, WrongSecretAndMissingBucketOfS3) {
  const char* prefix = std::getenv("CALIPRESS_TEST_S3");
  if (prefix == nullptr) GTEST_SKIP() << "no CALIPRESS_TEST_S3: set it to s3://bucket/prefix of a server to try";
  const std::string base = prefix;
  const std::string after_scheme = base.substr(base.find("://") + 3);
  auto store = OpenObjectStore();
  const std::string denied = "s3://test:wrongwrong@" + after_scheme + "/x";
  for (const absl::Status& status : {store->Open(denied).status(), store->WriteAll(denied, "x"),
                                     store->List("s3://nobody:wrong@" + after_scheme).status()}) {
    EXPECT_EQ(ErrorReason(status), reason::kStoragePermissionDenied) << status;
    EXPECT_EQ(status.message().find("wrongwrong"), absl::string_view::npos);
  }
  const std::string missing = "s3://calipress-no-such-bucket/x";
  EXPECT_EQ(store->Open(missing).status().code(), absl::StatusCode::kNotFound) << store->Open(missing).status();
  EXPECT_EQ(*store->Exists(missing), false);
  const absl::Status written = store->WriteAll(missing, "x");
  EXPECT_EQ(written.code(), absl::StatusCode::kNotFound) << written;
}

TEST(StorageFailures, BadQueryIsTheUsersFault) {
  const absl::Status status = OpenObjectStore()->Stat("s3://key:hidden@bucket/x?no_such_option=1").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(status.message().find("hidden"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace calipress::storage
