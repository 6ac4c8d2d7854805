// What every backend must do, run on a local folder (as a path and as file://) and, where CALIPRESS_TEST_S3 (or
// CALIPRESS_TEST_GS, CALIPRESS_TEST_ABFS) names a prefix, on a real server: tests/conformance/object_store.sh.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/thread.h"
#include "compress/storage/object_store.h"
#include "gtest/gtest.h"
#include "tests/unit/compress/storage/testing_folder.h"

namespace calipress::storage {
namespace {

struct Backend {
  std::string name;
  std::string environment;  // empty: a local folder
  bool as_uri = false;
};

class ObjectStoreConformance : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    const Backend& backend = GetParam();
    if (backend.environment.empty()) {
      folder_ = std::make_unique<TestingFolder>();
      base_ = (backend.as_uri ? "file://" : "") + folder_->path();
    } else {
      const char* prefix = std::getenv(backend.environment.c_str());
      if (prefix == nullptr || *prefix == '\0') {
        GTEST_SKIP() << "no " << backend.environment << ": set it to a prefix (" << backend.name
                     << "://bucket/prefix) that may be written, with the store's usual credentials";
      }
      base_ = JoinUri(prefix, RandomId());
    }
    store_ = OpenObjectStore();
  }

  void TearDown() override {
    if (store_ != nullptr) {
      EXPECT_TRUE(store_->DeleteFolder(base_).ok());
    }
  }

  std::string At(const std::string& name) const { return JoinUri(base_, name); }

  std::vector<std::string> Listed(const std::string& uri) {
    auto list = store_->List(uri);
    EXPECT_TRUE(list.ok()) << list.status();
    std::vector<std::string> uris;
    if (list.ok()) {
      for (const ObjectInfo& info : *list) uris.push_back(info.uri);
    }
    return uris;
  }

  std::unique_ptr<TestingFolder> folder_;
  std::string base_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_P(ObjectStoreConformance, WhatIsWrittenIsRead) {
  ASSERT_TRUE(store_->WriteAll(At("deep/er/name.bin"), "hello").ok());
  auto bytes = store_->ReadAll(At("deep/er/name.bin"), 5);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, "hello");
  auto info = store_->Stat(At("deep/er/name.bin"));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->size, 5);
  EXPECT_FALSE(info->is_folder);
  EXPECT_EQ(info->uri, At("deep/er/name.bin"));
  auto folder = store_->Stat(At("deep"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_TRUE(folder->is_folder);
}

TEST_P(ObjectStoreConformance, EmptyObject) {
  ASSERT_TRUE(store_->WriteAll(At("empty"), "").ok());
  auto bytes = store_->ReadAll(At("empty"), 0);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, "");
}

TEST_P(ObjectStoreConformance, LimitOfReadAll) {
  ASSERT_TRUE(store_->WriteAll(At("six"), "123456").ok());
  EXPECT_EQ(store_->ReadAll(At("six"), 5).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(ObjectStoreConformance, LargeObjectByRanges) {
  // More than one part of a multipart upload, in pieces that do not divide it.
  std::string bytes(23'000'001, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  auto writer = store_->Create(At("large"));
  ASSERT_TRUE(writer.ok()) << writer.status();
  for (size_t begin = 0; begin < bytes.size(); begin += 777'777) {
    const size_t size = std::min<size_t>(777'777, bytes.size() - begin);
    ASSERT_TRUE((*writer)->Write(bytes.data() + begin, static_cast<int64_t>(size)).ok());
  }
  ASSERT_TRUE((*writer)->Close().ok());
  auto reader = store_->Open(At("large"));
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_EQ((*reader)->size(), static_cast<int64_t>(bytes.size()));
  // Ranges from several threads at once.
  std::vector<int> wrong(4, 0);
  {
    std::vector<std::jthread> threads;
    for (size_t t = 0; t < wrong.size(); ++t) {
      threads.push_back(StartThread("range", [&, t] {
        const int64_t offset = static_cast<int64_t>(t) * 5'000'003;
        std::string part(1'000'001, '\0');
        const absl::Status status = (*reader)->ReadAt(offset, static_cast<int64_t>(part.size()), part.data());
        wrong[t] = !status.ok() || std::memcmp(part.data(), bytes.data() + offset, part.size()) != 0;
      }));
    }
  }
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
  char beyond[2];
  EXPECT_EQ((*reader)->ReadAt((*reader)->size() - 1, 2, beyond).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ((*reader)->ReadAt(-1, 1, beyond).code(), absl::StatusCode::kOutOfRange);
}

TEST_P(ObjectStoreConformance, NothingIsSeenBeforeClose) {
  auto writer = store_->Create(At("folder/late"));
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->Write("abc", 3).ok());
  EXPECT_EQ(*store_->Exists(At("folder/late")), false);
  EXPECT_TRUE(Listed(base_).empty());
  ASSERT_TRUE((*writer)->Close().ok());
  EXPECT_EQ(*store_->Exists(At("folder/late")), true);
  EXPECT_FALSE((*writer)->Write("d", 1).ok());
  EXPECT_FALSE((*writer)->Close().ok());
  EXPECT_EQ(*store_->ReadAll(At("folder/late"), 10), "abc");
}

TEST_P(ObjectStoreConformance, DroppedWriterLeavesNothing) {
  {
    auto writer = store_->Create(At("folder/dropped"));
    ASSERT_TRUE(writer.ok()) << writer.status();
    const std::string bytes(12'000'000, 'x');
    ASSERT_TRUE((*writer)->Write(bytes.data(), static_cast<int64_t>(bytes.size())).ok());
  }
  EXPECT_EQ(*store_->Exists(At("folder/dropped")), false);
  EXPECT_TRUE(Listed(base_).empty());
  if (folder_ != nullptr) {
    EXPECT_EQ(folder_->files(), 0);
  }
}

TEST_P(ObjectStoreConformance, DroppedWriterKeepsWhatWasThere) {
  ASSERT_TRUE(store_->WriteAll(At("kept"), "old").ok());
  {
    auto writer = store_->Create(At("kept"));
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE((*writer)->Write("newer", 5).ok());
  }
  EXPECT_EQ(*store_->ReadAll(At("kept"), 10), "old");
  ASSERT_TRUE(store_->WriteAll(At("kept"), "newer").ok());
  EXPECT_EQ(*store_->ReadAll(At("kept"), 10), "newer");
}

TEST_P(ObjectStoreConformance, ListIsRecursiveSortedFilesOnly) {
  for (const char* name : {"b/2", "a", "b/1", "b/c/3", "c.txt"}) {
    ASSERT_TRUE(store_->WriteAll(At(name), name).ok());
  }
  EXPECT_EQ(Listed(base_), (std::vector<std::string>{At("a"), At("b/1"), At("b/2"), At("b/c/3"), At("c.txt")}));
  EXPECT_EQ(Listed(At("b/")), (std::vector<std::string>{At("b/1"), At("b/2"), At("b/c/3")}));
  EXPECT_TRUE(Listed(At("nothing")).empty());
  auto list = store_->List(base_);
  ASSERT_TRUE(list.ok());
  EXPECT_EQ((*list)[4].size, 5);
  // What List names can be read.
  EXPECT_EQ(*store_->ReadAll((*list)[3].uri, 10), "b/c/3");
}

TEST_P(ObjectStoreConformance, NamesWithOddCharacters) {
  for (const char* name : {"with space", "100%", "plus+and=", "ünïcode-名", "a%20b"}) {
    ASSERT_TRUE(store_->WriteAll(At(name), name).ok()) << name;
    auto bytes = store_->ReadAll(At(name), 100);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, name);
  }
  for (const std::string& uri : Listed(base_)) {
    auto bytes = store_->ReadAll(uri, 100);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(uri, At(*bytes));
  }
  EXPECT_EQ(Listed(base_).size(), 5u);
}

TEST_P(ObjectStoreConformance, MissingIsNotFound) {
  EXPECT_EQ(store_->Open(At("missing")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Stat(At("missing")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Delete(At("missing")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Move(At("missing"), At("other")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(*store_->Exists(At("missing")), false);
  EXPECT_TRUE(store_->DeleteFolder(At("missing")).ok());
  EXPECT_NE(store_->Open(At("missing")).status().message().find("missing"), absl::string_view::npos);
}

TEST_P(ObjectStoreConformance, FolderIsNotAFile) {
  ASSERT_TRUE(store_->WriteAll(At("folder/name"), "x").ok());
  EXPECT_FALSE(store_->Open(At("folder")).ok());
  EXPECT_EQ(store_->Delete(At("folder")).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->DeleteFolder(At("folder/name")).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*store_->ReadAll(At("folder/name"), 1), "x");
}

TEST_P(ObjectStoreConformance, MoveDeleteDeleteFolder) {
  ASSERT_TRUE(store_->WriteAll(At("staging/one"), "1").ok());
  ASSERT_TRUE(store_->WriteAll(At("staging/two"), "2").ok());
  absl::Status moved = store_->Move(At("staging/one"), At("final/place/one"));
  ASSERT_TRUE(moved.ok()) << moved;
  EXPECT_EQ(*store_->Exists(At("staging/one")), false);
  EXPECT_EQ(*store_->ReadAll(At("final/place/one"), 1), "1");
  ASSERT_TRUE(store_->Delete(At("final/place/one")).ok());
  EXPECT_EQ(*store_->Exists(At("final/place/one")), false);
  ASSERT_TRUE(store_->WriteAll(At("staging-not/me"), "3").ok());
  ASSERT_TRUE(store_->DeleteFolder(At("staging")).ok());
  EXPECT_EQ(*store_->Exists(At("staging")), false);
  EXPECT_EQ(Listed(base_), (std::vector<std::string>{At("staging-not/me")}));
}

TEST_P(ObjectStoreConformance, TopIsNeverDeleted) {
  const std::string top =
      base_.substr(0, base_.find('/', base_.find("://") == std::string::npos ? 0 : base_.find("://") + 3) + 1);
  EXPECT_EQ(store_->DeleteFolder(top).code(), absl::StatusCode::kInvalidArgument) << top;
}

INSTANTIATE_TEST_SUITE_P(Backends, ObjectStoreConformance,
                         testing::Values(Backend{"path", "", false}, Backend{"file", "", true},
                                         Backend{"s3", "CALIPRESS_TEST_S3"}, Backend{"gs", "CALIPRESS_TEST_GS"},
                                         Backend{"abfs", "CALIPRESS_TEST_ABFS"}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace calipress::storage
