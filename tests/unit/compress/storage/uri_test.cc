#include "compress/storage/uri.h"

#include "compress/base/error.h"
#include "compress/storage/filesystem_cache.h"
#include "compress/storage/object_store.h"
#include "gtest/gtest.h"

namespace calipress::storage {
namespace {

TEST(Uri, Schemes) {
  EXPECT_EQ(UriScheme("/a/b"), "file");
  EXPECT_EQ(UriScheme("a/b"), "file");
  EXPECT_EQ(UriScheme("file:///a"), "file");
  EXPECT_EQ(UriScheme("S3://bucket/key"), "s3");
  EXPECT_EQ(UriScheme("gs://bucket"), "gs");
  EXPECT_EQ(UriScheme("abfs://c@a.dfs.core.windows.net/x"), "abfs");
  EXPECT_EQ(UriScheme("http://host/x"), "");
  EXPECT_EQ(UriScheme("://x"), "");
  EXPECT_EQ(UriScheme(""), "");
}

TEST(Uri, JoinHasOneSlashAndKeepsTheQuery) {
  EXPECT_EQ(JoinUri("a/b", "c"), "a/b/c");
  EXPECT_EQ(JoinUri("a/b/", "/c/d"), "a/b/c/d");
  EXPECT_EQ(JoinUri("/", "c"), "/c");
  EXPECT_EQ(JoinUri("", "c"), "c");
  EXPECT_EQ(JoinUri("s3://bucket", "c"), "s3://bucket/c");
  EXPECT_EQ(JoinUri("s3://bucket/a/?scheme=http", "c"), "s3://bucket/a/c?scheme=http");
  EXPECT_EQ(JoinUri("what?", "c"), "what?/c");
  EXPECT_EQ(JoinUri("file:///a", "50%?#"), "file:///a/50%25%3F%23");
}

TEST(Uri, AFolderHasOneKey) {
  for (const char* same : {"/a/c", "/a/c/", "/a//c", "/a/./c", "/a/b/../c//", "file:///a/c", "file:///a//b/../c/",
                           "file://localhost/a/%63", "FILE:///a/c"}) {
    EXPECT_EQ(FolderKey(same), "file:///a/c/") << same;
  }
  for (const char* other : {"/a/cc", "/a", "/a/c/d", "s3://a/c", "/A/c"}) {
    EXPECT_NE(FolderKey(other), "file:///a/c/") << other;
  }
  EXPECT_EQ(FolderKey("s3://b/out/?scheme=http"), FolderKey("S3://b/out"));
  EXPECT_NE(FolderKey("s3://b/out"), FolderKey("gs://b/out"));
  EXPECT_EQ(FolderKey("/"), "file:///");
}

TEST(Uri, RedactLeavesNoSecret) {
  EXPECT_EQ(RedactUri("s3://key:secret@bucket/a/b?session=secret"), "s3://bucket/a/b");
  EXPECT_EQ(RedactUri("s3://key:se@cret@bucket/a"), "s3://bucket/a");
  EXPECT_EQ(RedactUri("abfs://container:secret@account.dfs.core.windows.net/x?sas=secret"),
            "abfs://container@account.dfs.core.windows.net/x");
  EXPECT_EQ(RedactUri("http://user:secret@host/x#secret"), "http://host/x");
  EXPECT_EQ(RedactUri("/a/b?c"), "/a/b?c");
  EXPECT_EQ(RedactUri("gs://bucket/x"), "gs://bucket/x");
}

TEST(Uri, CheckSaysWhatIsWrong) {
  for (const char* good : {"/a", "a", "file:///a%20b", "s3://bucket", "s3://k:s@bucket/a/b?region=x", "gs://b/k",
                           "abfs://c@a.dfs.core.windows.net/k", "abfs://account.blob.core.windows.net/c/k"}) {
    EXPECT_TRUE(CheckUri(good).ok()) << CheckUri(good);
  }
  const std::pair<const char*, const char*> bad[] = {{"", "empty"},
                                                     {"http://h/x", "unknown scheme"},
                                                     {"s3:///key", "no bucket"},
                                                     {"s3://", "no bucket"},
                                                     {"s3://b/a/../c", "'..'"},
                                                     {"s3://b/a//c", "empty segment"},
                                                     {"file://h/x", "absolute"},
                                                     {"file:x", "file:///"},
                                                     {"file:///a?b", "%3F"},
                                                     {"file:///a%00b", "NUL"},
                                                     {"a\nb", "control"},
                                                     {"s3://b/a#f", "'#'"},
                                                     {"s3://b ad/k", "character"}};
  for (const auto& [uri, word] : bad) {
    const absl::Status status = CheckUri(uri);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << uri;
    EXPECT_EQ(ErrorReason(status), reason::kInvalidRequest);
    EXPECT_NE(status.message().find(word), absl::string_view::npos) << status;
  }
  EXPECT_EQ(CheckUri("s3://key:hidden@/x").message().find("hidden"), absl::string_view::npos);
}

TEST(Uri, LocationParts) {
  auto location = ParseUri("s3://k:s@bucket/a/b/?region=x");
  ASSERT_TRUE(location.ok());
  EXPECT_EQ(location->authority, "k:s@bucket");
  EXPECT_EQ(location->path, "a/b");
  EXPECT_EQ(location->query, "region=x");
  EXPECT_EQ(ParseUri("file:///a%20b/c/")->path, "/a b/c");
  EXPECT_EQ(ParseUri("/")->path, "/");
  EXPECT_EQ(ParseUri("relative")->path.front(), '/');
}

TEST(Uri, PartialNamesAreRecognised) {
  const std::string partial = PartialPath("/a/b/model.safetensors");
  EXPECT_EQ(partial.rfind("/a/b/.model.safetensors.", 0), 0u);
  EXPECT_TRUE(IsPartialPath(partial));
  EXPECT_FALSE(IsPartialPath("/a/b/model.safetensors"));
  EXPECT_LE(PartialPath("/" + std::string(255, 'n')).size(), 1u + 255u);
  EXPECT_NE(PartialPath("x"), PartialPath("x"));
}

TEST(Uri, S3QueryIsCompleted) {
  EXPECT_EQ(CompleteS3Query("", "http://127.0.0.1:7070/", ""),
            "scheme=http&endpoint_override=127.0.0.1:7070&region=us-east-1");
  EXPECT_EQ(CompleteS3Query("endpoint_override=x:1&scheme=http", "https://other", "eu"),
            "endpoint_override=x:1&scheme=http&region=eu");
  EXPECT_EQ(CompleteS3Query("", "", ""), "");
  EXPECT_EQ(CompleteS3Query("region=r", "", "eu"), "region=r");
}

}  // namespace
}  // namespace calipress::storage
