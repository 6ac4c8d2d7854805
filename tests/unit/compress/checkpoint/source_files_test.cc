#include "compress/checkpoint/publication/source_files.h"

#include "compress/base/error.h"
#include "gtest/gtest.h"
#include "tests/unit/server/assembly/testing_tiny_model.h"

namespace calipress::checkpoint {
namespace {

using calipress::testing::TestFolder;
using calipress::testing::WriteFile;

TEST(SourceFiles, TakesTokenizersAndCodeAndNoWeights) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "generation_config.json", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json",
                           "chat_template.jinja", "chat_template.json", "modeling_x.py", "LICENSE", "LICENSE.txt"}) {
    EXPECT_TRUE(IsCopiedFile(name)) << name;
  }
  for (const char* name : {"config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "README.md", ".py", "a b.py", ".gitattributes", "recipe.yaml", ""}) {
    EXPECT_FALSE(IsCopiedFile(name)) << name;
  }
}

TEST(SourceFiles, LooksAtTheFolderItself) {
  TestFolder folder;
  WriteFile(folder / "tokenizer.json", "{}");
  WriteFile(folder / "original/tokenizer.model", "x");
  const auto store = storage::OpenObjectStore();
  for (const std::string& spelling :
       {folder.path().string(), folder.path().string() + "/", "file://" + folder.path().string()}) {
    const auto names = CopiedFiles(*store, spelling);
    ASSERT_TRUE(names.ok()) << names.status();
    EXPECT_EQ(*names, std::vector<std::string>{"tokenizer.json"}) << spelling;
  }
}

TEST(SourceFiles, RefusesAFileThatNoTokenizerCanBe) {
  TestFolder folder;
  WriteFile(folder / "in/tokenizer.json", "");
  std::filesystem::resize_file(folder / "in/tokenizer.json", 100'000'001);  // sparse
  const auto store = storage::OpenObjectStore();
  const absl::Status status = CopyFile(*store, folder / "in", folder / "out", "tokenizer.json");
  EXPECT_EQ(ErrorReason(status), reason::kSourceModelCorrupt);
  EXPECT_FALSE(std::filesystem::exists(folder / "out/tokenizer.json"));
}

TEST(NameBelow, IgnoresQueriesAndTrailingSlashes) {
  EXPECT_EQ(NameBelow("s3://bucket/a/?x=1", "s3://bucket/a/b/c?x=1"), "b/c");
  EXPECT_EQ(NameBelow("/a", "/ab/c"), "");
  EXPECT_EQ(NameBelow("/a?b", "/a?b/c"), "c");
}

}  // namespace
}  // namespace calipress::checkpoint
