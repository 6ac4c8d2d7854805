#include "compress/base/metrics.h"

#include <prometheus/exposer.h>

#include "compress/base/version.h"

namespace calipress {
namespace {

class ExposedMetrics : public MetricsServer {
 public:
  explicit ExposedMetrics(const std::string& address) : exposer_(address, /*num_threads=*/2) {
    exposer_.RegisterCollectable(registry_);
  }
  int port() const override { return exposer_.GetListeningPorts().front(); }

 private:
  // The registry is immortal; the exposer wants shared ownership (it keeps a weak pointer), so this owns it in name.
  std::shared_ptr<prometheus::Registry> registry_{&Metrics(), [](prometheus::Registry*) {}};
  prometheus::Exposer exposer_;
};

}  // namespace

prometheus::Registry& Metrics() {
  static auto* const registry = new prometheus::Registry;
  return *registry;
}

prometheus::Family<prometheus::Counter>& CounterFamily(const std::string& name, const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(Metrics());
}
prometheus::Family<prometheus::Gauge>& GaugeFamily(const std::string& name, const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(Metrics());
}
prometheus::Family<prometheus::Histogram>& HistogramFamily(const std::string& name, const std::string& help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(Metrics());
}

prometheus::Histogram::BucketBoundaries RpcBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
}
prometheus::Histogram::BucketBoundaries StageBuckets() {
  return {0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1200, 2400, 7200};
}

std::unique_ptr<MetricsServer> MetricsServer::Start(const std::string& address, std::string* error) {
  try {
    return std::make_unique<ExposedMetrics>(address);
  } catch (const std::exception& e) {
    *error = "cannot serve metrics on " + address + ": " + e.what();
    return nullptr;
  }
}

void SetBuildInfo(const std::string& torch_version, const std::string& cuda_version) {
  GaugeFamily("calipress_build_info", "Always 1; the labels say what was built.")
      .Add({{"version", std::string(kVersion)},
            {"revision", std::string(BuildRevision())},
            {"torch", torch_version},
            {"cuda", cuda_version}})
      .Set(1);
}

}  // namespace calipress
