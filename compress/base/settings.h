#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace calipress {

// The keys of a program's configuration file, and where their values go. Targets outlive Read.
class Settings {
 public:
  Settings();
  ~Settings();
  Settings(Settings&&) noexcept;

  void Text(const std::string& key, std::string* target);
  // One of the words.
  void Choice(const std::string& key, std::string* target, std::vector<std::string> words);
  // host:port
  void Address(const std::string& key, std::string* target, bool may_be_empty);
  void Number(const std::string& key, double* target, double least, double most);
  void Number(const std::string& key, int* target, int least, int most);
  void Number(const std::string& key, int64_t* target, int64_t least, int64_t most);
  void Flag(const std::string& key, bool* target);
  void Section(const std::string& key, Settings section);

  // Reads YAML; keys that are not given leave their targets alone. INVALID_REQUEST with the line for malformed YAML,
  // values of the wrong kind or out of range, and unknown keys, with the nearest one that there is.
  absl::Status Read(std::string_view yaml) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace calipress
