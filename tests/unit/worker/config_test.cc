#include "worker/config.h"

#include <gtest/gtest.h>

#include "compress/base/error.h"

namespace calipress::worker {
namespace {

TEST(WorkerConfigTest, TheExampleIsTheDefaults) {
  const auto example = ParseConfig(ConfigExample());
  ASSERT_TRUE(example.ok()) << example.status();
  const Config defaults;
  EXPECT_EQ(example->coordinator, defaults.coordinator);
  EXPECT_EQ(example->device, defaults.device);
  EXPECT_EQ(example->threads, defaults.threads);
  EXPECT_EQ(example->host, defaults.host);
  EXPECT_EQ(example->rendezvous_port, defaults.rendezvous_port);
  EXPECT_EQ(example->log_level, defaults.log_level);
  EXPECT_EQ(example->drain_seconds, defaults.drain_seconds);
}

TEST(WorkerConfigTest, ReadsEveryKey) {
  const auto config = ParseConfig(R"(
coordinator: "[::1]:9"
id: w
device: cuda
threads: 4
host: eth0
rendezvous_port: 1234
metrics_address: 0.0.0.0:9464
health_address: 0.0.0.0:9465
log_level: debug
log_file: /var/log/w
memory_limit_bytes: 1000000
drain_seconds: 2.5
storage: {s3_endpoint: "http://s3", s3_region: r}
)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->coordinator, "[::1]:9");
  EXPECT_EQ(config->id, "w");
  EXPECT_EQ(config->device, "cuda");
  EXPECT_EQ(config->threads, 4);
  EXPECT_EQ(config->host, "eth0");
  EXPECT_EQ(config->rendezvous_port, 1234);
  EXPECT_EQ(config->metrics_address, "0.0.0.0:9464");
  EXPECT_EQ(config->health_address, "0.0.0.0:9465");
  EXPECT_EQ(config->log_level, "debug");
  EXPECT_EQ(config->log_file, "/var/log/w");
  EXPECT_EQ(config->memory_limit_bytes, 1000000);
  EXPECT_EQ(config->drain_seconds, 2.5);
  EXPECT_EQ(config->storage.s3_endpoint, "http://s3");
  EXPECT_EQ(config->storage.s3_region, "r");
}

TEST(WorkerConfigTest, AnUnknownKeyIsNamedWithTheNearestOne) {
  const auto config = ParseConfig("cordinator: 127.0.0.1:7070\n");
  EXPECT_EQ(ErrorClassOf(config.status()), ErrorClass::kUser);
  const std::string message(config.status().message());
  EXPECT_NE(message.find("cordinator"), std::string::npos) << message;
  EXPECT_NE(message.find("coordinator"), std::string::npos) << message;
}

TEST(WorkerConfigTest, ValuesAreChecked) {
  EXPECT_FALSE(ParseConfig("threads: -1\n").ok());
  EXPECT_FALSE(ParseConfig("device: tpu\n").ok());
  EXPECT_FALSE(ParseConfig("coordinator: \"\"\n").ok());
  EXPECT_FALSE(ParseConfig("log_level: loud\n").ok());
}

}  // namespace
}  // namespace calipress::worker
