#include "server/api/rpc_metrics.h"

#include <string>

#include "compress/base/clock.h"
#include "compress/base/metrics.h"

namespace calipress::api {
namespace {

auto& Requests() {
  static auto& family = CounterFamily("calipress_grpc_requests_total", "RPCs that ended, by method and status code.");
  return family;
}
auto& Durations() {
  static auto& family =
      HistogramFamily("calipress_grpc_request_duration_seconds", "Seconds from an RPC's arrival to its answer.");
  return family;
}
prometheus::Gauge& InFlight() {
  static auto& gauge =
      GaugeFamily("calipress_grpc_requests_in_flight", "RPCs that are being answered, streams included.").Add({});
  return gauge;
}

class RpcRecorder : public grpc::experimental::Interceptor {
 public:
  explicit RpcRecorder(grpc::experimental::ServerRpcInfo* info)
      : unary_(info->type() == grpc::experimental::ServerRpcInfo::Type::UNARY) {
    // "/calipress.v1.CompressionService/GetCompressionJob"
    std::string_view path = info->method();
    if (path.starts_with('/')) path.remove_prefix(1);
    const size_t slash = path.find('/');
    service_ = path.substr(0, slash);
    method_ = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    InFlight().Increment();
  }

  // Runs when the RPC is over, however it ended.
  ~RpcRecorder() override {
    InFlight().Decrement();
    Requests().Add({{"service", service_}, {"method", method_}, {"code", std::string(CodeName(code_))}}).Increment();
    if (!unary_) return;
    Durations().Add({{"service", service_}, {"method", method_}}, RpcBuckets()).Observe(stopwatch_.Seconds());
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(grpc::experimental::InterceptionHookPoints::PRE_SEND_STATUS)) {
      code_ = methods->GetSendStatus().error_code();
    }
    methods->Proceed();
  }

 private:
  const bool unary_;
  std::string service_;
  std::string method_;
  grpc::StatusCode code_ = grpc::StatusCode::CANCELLED;
  Stopwatch stopwatch_;
};

class RpcRecorderFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    return new RpcRecorder(info);
  }
};

}  // namespace

std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> RpcMetrics() {
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<RpcRecorderFactory>());
  return factories;
}

std::string_view CodeName(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::OK:
      return "OK";
    case grpc::StatusCode::CANCELLED:
      return "CANCELLED";
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    case grpc::StatusCode::NOT_FOUND:
      return "NOT_FOUND";
    case grpc::StatusCode::ALREADY_EXISTS:
      return "ALREADY_EXISTS";
    case grpc::StatusCode::PERMISSION_DENIED:
      return "PERMISSION_DENIED";
    case grpc::StatusCode::UNAUTHENTICATED:
      return "UNAUTHENTICATED";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "RESOURCE_EXHAUSTED";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "FAILED_PRECONDITION";
    case grpc::StatusCode::ABORTED:
      return "ABORTED";
    case grpc::StatusCode::OUT_OF_RANGE:
      return "OUT_OF_RANGE";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "UNIMPLEMENTED";
    case grpc::StatusCode::INTERNAL:
      return "INTERNAL";
    case grpc::StatusCode::UNAVAILABLE:
      return "UNAVAILABLE";
    case grpc::StatusCode::DATA_LOSS:
      return "DATA_LOSS";
    default:
      return "UNKNOWN";
  }
}

}  // namespace calipress::api
