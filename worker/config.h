#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "compress/storage/object_store.h"

namespace calipress::worker {

// What calipress-worker is told.
struct Config {
  std::string coordinator = "127.0.0.1:7070";
  std::string id;  // empty: host name and process id
  std::string device = "cpu";
  int threads = 0;  // 0: one per CPU
  std::string host = "127.0.0.1";
  int rendezvous_port = 0;
  std::string metrics_address;
  std::string health_address;
  std::string log_level = "info";
  std::string log_file;
  int64_t memory_limit_bytes = 0;  // 0: a third of what the device has
  double drain_seconds = 30;
  storage::StorageOptions storage;
};

// As compress/base/settings.h reads it.
absl::StatusOr<Config> ParseConfig(std::string_view yaml);

// A configuration file with every key at its default, and what it is for.
std::string_view ConfigExample();

}  // namespace calipress::worker
