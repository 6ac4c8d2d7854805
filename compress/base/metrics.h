#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace calipress {

// The process's registry; lives for ever. Metrics are declared in the file that sets them, through the families below.
prometheus::Registry& Metrics();

// A family that lives for ever. Names begin with "calipress_"; labels come from closed sets (style.md 6.1).
prometheus::Family<prometheus::Counter>& CounterFamily(const std::string& name, const std::string& help);
prometheus::Family<prometheus::Gauge>& GaugeFamily(const std::string& name, const std::string& help);
prometheus::Family<prometheus::Histogram>& HistogramFamily(const std::string& name, const std::string& help);

// Buckets in seconds.
prometheus::Histogram::BucketBoundaries RpcBuckets();    // 1 ms .. 10 s
prometheus::Histogram::BucketBoundaries StageBuckets();  // 0.1 s .. 2 h

// Serves Metrics() at /metrics while it lives. `address` is host:port; port 0 picks one.
class MetricsServer {
 public:
  virtual ~MetricsServer() = default;
  virtual int port() const = 0;
  // Null with *error set where the address cannot be used.
  static std::unique_ptr<MetricsServer> Start(const std::string& address, std::string* error);
};

// Sets calipress_build_info.
void SetBuildInfo(const std::string& torch_version, const std::string& cuda_version);

}  // namespace calipress
