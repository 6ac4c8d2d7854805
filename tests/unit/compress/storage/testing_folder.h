#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace calipress::storage {

// A folder of its own for each test; gone with the object.
class TestingFolder {
 public:
  TestingFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "calipress-storage-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TestingFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestingFolder(const TestingFolder&) = delete;
  TestingFolder& operator=(const TestingFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  // Files of any kind below, temporary ones too.
  int files() const {
    int count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_)) count += entry.is_regular_file();
    return count;
  }

 private:
  std::string path_;
};

}  // namespace calipress::storage
