#include "server/config.h"

#include "gtest/gtest.h"

namespace calipress::server {
namespace {

std::string Message(const std::string& yaml) {
  const auto config = ParseConfig(yaml);
  return config.ok() ? "" : std::string(config.status().message());
}

TEST(CoordinatorConfig, TheExampleIsTheDefaults) {
  const auto example = ParseConfig(ConfigExample());
  const auto defaults = ParseConfig("");
  ASSERT_TRUE(example.ok()) << example.status();
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  const ServerOptions &a = example->server, &b = defaults->server;
  EXPECT_EQ(a.grpc.listen, b.grpc.listen);
  EXPECT_EQ(a.grpc.reflection, b.grpc.reflection);
  EXPECT_EQ(a.database, b.database);
  EXPECT_EQ(a.metrics_address, b.metrics_address);
  EXPECT_EQ(a.coordinator.scheduler.lease_seconds, b.coordinator.scheduler.lease_seconds);
  EXPECT_EQ(a.coordinator.scheduler.replan_grace_seconds, b.coordinator.scheduler.replan_grace_seconds);
  EXPECT_EQ(a.coordinator.scheduler.max_attempts_lost, b.coordinator.scheduler.max_attempts_lost);
  EXPECT_EQ(a.coordinator.scheduler.max_attempts_failed, b.coordinator.scheduler.max_attempts_failed);
  EXPECT_EQ(a.coordinator.max_unfinished_jobs, b.coordinator.max_unfinished_jobs);
  EXPECT_EQ(a.storage.s3_endpoint, b.storage.s3_endpoint);
  EXPECT_EQ(example->log_level, defaults->log_level);
  EXPECT_EQ(example->log_file, defaults->log_file);
}

TEST(CoordinatorConfig, ReadsEveryKey) {
  const auto config = ParseConfig(R"(
listen: 0.0.0.0:1
database: /var/lib/x.db
metrics_address: 127.0.0.1:2
log_level: warning
log_file: /var/log/x
lease_seconds: 2.5
recovery_grace_seconds: 7
max_attempts_lost: 4
max_attempts_failed: 5
max_queued_jobs: 6
storage: {s3_endpoint: "localhost:9000", s3_region: eu}
reflection: false
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->server.grpc.listen, "0.0.0.0:1");
  EXPECT_FALSE(config->server.grpc.reflection);
  EXPECT_EQ(config->server.database, "/var/lib/x.db");
  EXPECT_EQ(config->server.metrics_address, "127.0.0.1:2");
  EXPECT_EQ(config->server.coordinator.scheduler.lease_seconds, 2.5);
  EXPECT_EQ(config->server.coordinator.scheduler.replan_grace_seconds, 7);
  EXPECT_EQ(config->server.coordinator.scheduler.max_attempts_lost, 4);
  EXPECT_EQ(config->server.coordinator.scheduler.max_attempts_failed, 5);
  EXPECT_EQ(config->server.coordinator.max_unfinished_jobs, 6);
  EXPECT_EQ(config->server.storage.s3_endpoint, "localhost:9000");
  EXPECT_EQ(config->server.storage.s3_region, "eu");
  EXPECT_EQ(config->log_level, "warning");
  EXPECT_EQ(config->log_file, "/var/log/x");
}

TEST(CoordinatorConfig, SaysWhereAndWhatIsWrong) {
  EXPECT_EQ(Message("listen: a:1\nlistn: b"), "line 2: unknown key 'listn'; did you mean 'listen'?");
  EXPECT_EQ(Message("storage:\n  s3_endpont: x"), "line 2: unknown key 's3_endpont'; did you mean 's3_endpoint'?");
  EXPECT_EQ(Message("lease_seconds: .nan"), "line 1: lease_seconds must be a number from 1 to 3600");
  EXPECT_EQ(Message("max_attempts_lost: 1.5"), "line 1: max_attempts_lost must be a number from 1 to 1000");
  EXPECT_EQ(Message("reflection: maybe"), "line 1: reflection must be true or false");
  EXPECT_EQ(Message("listen: localhost"), "line 1: listen must be host:port, as in 127.0.0.1:7070");
  EXPECT_EQ(Message("listen: \"\""), "line 1: listen must be host:port, as in 127.0.0.1:7070");
  EXPECT_EQ(Message("log_level: loud"), "line 1: log_level must be one of trace, debug, info, warning, error, off");
  EXPECT_EQ(Message("- a"), "line 1: the configuration must be a map of keys and values");
  EXPECT_NE(Message("a: [").find("not YAML"), std::string::npos);
  EXPECT_NE(Message("database: \"\"").find("database must name a file"), std::string::npos);
}

}  // namespace
}  // namespace calipress::server
