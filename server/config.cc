#include "server/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"

namespace calipress::server {
namespace {

constexpr std::string_view kExample = R"(# host:port of the API and of the workers' calls. Put a TLS proxy before it where the network is not trusted.
listen: 127.0.0.1:7070
# SQLite file; made if missing.
database: calipress.db
# host:port of /metrics; "" for none.
metrics_address: ""
# trace, debug, info, warning, error or off.
log_level: info
# "" for standard error.
log_file: ""
# A worker that is silent for so long has lost its work.
lease_seconds: 15
# After a worker is lost: how long a job waits for as many workers as it had before it goes on with those left.
recovery_grace_seconds: 5
# A job fails once so many attempts ended with a lost worker, or with a failure.
max_attempts_lost: 10
max_attempts_failed: 3
# Jobs that have not ended; one more is refused.
max_queued_jobs: 1000
# For s3:// where the environment (AWS_ENDPOINT_URL_S3, AWS_REGION) does not say it.
storage:
  s3_endpoint: ""
  s3_region: ""
# Lets tools such as grpcurl ask for the schema.
reflection: true
)";

absl::Status Wrong(const YAML::Node& node, const std::string& what) {
  const int line = node.Mark().line;
  return UserError(reason::kInvalidRequest, line < 0 ? what : absl::StrCat("line ", line + 1, ": ", what));
}

// Single edits between two words.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

using Setter = std::function<absl::Status(const std::string& key, const YAML::Node& value)>;
using Schema = std::map<std::string, Setter>;

std::string UnknownKey(const std::string& key, const Schema& schema) {
  const auto nearest = std::min_element(schema.begin(), schema.end(), [&](const auto& a, const auto& b) {
    return Distance(key, a.first) < Distance(key, b.first);
  });
  return absl::StrCat("unknown key '", key, "'; did you mean '", nearest->first, "'?");
}

absl::Status ReadMap(const YAML::Node& node, const std::string& what, const Schema& schema) {
  if (!node.IsMap()) return Wrong(node, absl::StrCat(what, " must be a map of keys and values"));
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) return Wrong(entry.first, absl::StrCat(what, " has a key that is not a word"));
    const std::string key = entry.first.Scalar();
    const auto found = schema.find(key);
    if (found == schema.end()) return Wrong(entry.first, UnknownKey(key, schema));
    if (const absl::Status status = found->second(key, entry.second); !status.ok()) return status;
  }
  return absl::OkStatus();
}

Setter Text(std::string* target) {
  return [target](const std::string& key, const YAML::Node& value) -> absl::Status {
    if (value.IsNull()) {
      target->clear();
    } else if (value.IsScalar()) {
      *target = value.Scalar();
    } else {
      return Wrong(value, absl::StrCat(key, " must be text"));
    }
    return absl::OkStatus();
  };
}

template <typename T>
Setter Number(T* target, T least, T most) {
  return [=](const std::string& key, const YAML::Node& value) -> absl::Status {
    T number{};
    // Written so that NaN is refused too.
    if (!value.IsScalar() || !YAML::convert<T>::decode(value, number) || !(number >= least && number <= most)) {
      return Wrong(value, absl::StrCat(key, " must be a number from ", least, " to ", most));
    }
    *target = number;
    return absl::OkStatus();
  };
}

Setter Flag(bool* target) {
  return [target](const std::string& key, const YAML::Node& value) -> absl::Status {
    if (!value.IsScalar() || !YAML::convert<bool>::decode(value, *target)) {
      return Wrong(value, absl::StrCat(key, " must be true or false"));
    }
    return absl::OkStatus();
  };
}

Setter Address(std::string* target, bool may_be_empty) {
  return [=](const std::string& key, const YAML::Node& value) -> absl::Status {
    if (const absl::Status status = Text(target)(key, value); !status.ok()) return status;
    const bool well_formed = target->rfind(':') != std::string::npos && target->back() != ':';
    if (well_formed || (may_be_empty && target->empty())) return absl::OkStatus();
    return Wrong(value, absl::StrCat(key, " must be host:port, as in 127.0.0.1:7070"));
  };
}

Setter Level(std::string* target) {
  return [target](const std::string& key, const YAML::Node& value) -> absl::Status {
    if (const absl::Status status = Text(target)(key, value); !status.ok()) return status;
    for (const char* level : {"trace", "debug", "info", "warning", "error", "off"}) {
      if (*target == level) return absl::OkStatus();
    }
    return Wrong(value, absl::StrCat(key, " must be trace, debug, info, warning, error or off"));
  };
}

Schema TopLevel(Config* config) {
  ServerOptions& server = config->server;
  scheduler::Options& scheduler = server.coordinator.scheduler;
  const Setter storage = [&server](const std::string& key, const YAML::Node& value) {
    return ReadMap(value, key, {{"s3_endpoint", Text(&server.storage.s3_endpoint)},
                                {"s3_region", Text(&server.storage.s3_region)}});
  };
  return {
      {"listen", Address(&server.grpc.listen, /*may_be_empty=*/false)},
      {"database", Text(&server.database)},
      {"metrics_address", Address(&server.metrics_address, /*may_be_empty=*/true)},
      {"log_level", Level(&config->log_level)},
      {"log_file", Text(&config->log_file)},
      {"lease_seconds", Number<double>(&scheduler.lease_seconds, 1, 3600)},
      {"recovery_grace_seconds", Number<double>(&scheduler.replan_grace_seconds, 0, 3600)},
      {"max_attempts_lost", Number<int>(&scheduler.max_attempts_lost, 1, 1000)},
      {"max_attempts_failed", Number<int>(&scheduler.max_attempts_failed, 1, 1000)},
      {"max_queued_jobs", Number<int>(&server.coordinator.max_unfinished_jobs, 1, 1'000'000)},
      {"storage", storage},
      {"reflection", Flag(&server.grpc.reflection)},
  };
}

}  // namespace

absl::StatusOr<Config> ParseConfig(std::string_view yaml) {
  Config config;
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    // An empty file is all defaults.
    if (!root.IsNull()) {
      const absl::Status status = ReadMap(root, "the configuration", TopLevel(&config));
      if (!status.ok()) return status;
    }
  } catch (const YAML::Exception& e) {
    return UserError(reason::kInvalidRequest, absl::StrCat("line ", e.mark.line + 1, ": not YAML: ", e.msg));
  }
  if (config.server.database.empty()) {
    return UserError(reason::kInvalidRequest, "database must name a file (or :memory:, which forgets every job)");
  }
  return config;
}

std::string_view ConfigExample() { return kExample; }

}  // namespace calipress::server
