#include "compress/collective/metered_group.h"

#include <functional>

#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/metrics.h"

namespace calipress::collective {
namespace {

// From a small transfer on one machine to a stage that waits for the stages before it.
prometheus::Histogram::BucketBoundaries WaitBuckets() {
  return {0.0001, 0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30, 120, 600, 3600};
}

prometheus::Family<prometheus::Counter>& Failures() {
  static auto& family =
      CounterFamily("calipress_collective_failures_total", "Collective operations that failed, by reason.");
  return family;
}

void CountFailure(const std::string& operation, const absl::Status& status) {
  Failures().Add({{"operation", operation}, {"reason", ErrorReason(status)}}).Increment();
}

class Meter {
 public:
  Meter(const std::string& operation, const std::string& backend)
      : operation_(operation),
        bytes_(CounterFamily("calipress_collective_bytes_total", "Tensor bytes sent, received or summed by this rank.")
                   .Add({{"operation", operation}, {"backend", backend}})),
        seconds_(HistogramFamily("calipress_collective_duration_seconds",
                                 "Seconds that a caller was blocked in one operation.")
                     .Add({{"operation", operation}, {"backend", backend}}, WaitBuckets())) {
    Failures().Add({{"operation", operation}, {"reason", std::string(reason::kPeerLost)}});
  }

  absl::Status Measure(int64_t bytes, const std::function<absl::Status()>& body) {
    const Stopwatch watch;
    absl::Status status = body();
    seconds_.Observe(watch.Seconds());
    if (status.ok()) {
      bytes_.Increment(static_cast<double>(bytes));
    } else {
      CountFailure(operation_, status);
    }
    return status;
  }
  void Failed(const absl::Status& status) { CountFailure(operation_, status); }

 private:
  const std::string operation_;
  prometheus::Counter& bytes_;
  prometheus::Histogram& seconds_;
};

struct Meters {
  explicit Meters(const std::string& backend)
      : send("send", backend),
        receive("receive", backend),
        reduce("all_reduce", backend),
        gather("all_gather", backend),
        barrier("barrier", backend) {}
  Meter send, receive, reduce, gather, barrier;
};

class MeteredTransfer : public Transfer {
 public:
  MeteredTransfer(std::unique_ptr<Transfer> transfer, int64_t bytes, std::shared_ptr<Meters> meters, Meter& meter)
      : transfer_(std::move(transfer)), bytes_(bytes), meters_(std::move(meters)), meter_(meter) {}
  absl::Status Wait() override {
    if (waited_) return transfer_->Wait();
    waited_ = true;
    return meter_.Measure(bytes_, [this] { return transfer_->Wait(); });
  }

 private:
  std::unique_ptr<Transfer> transfer_;
  int64_t bytes_;
  std::shared_ptr<Meters> meters_;  // owns meter_
  Meter& meter_;
  bool waited_ = false;
};

class MeteredGroup : public Group {
 public:
  MeteredGroup(std::unique_ptr<Group> group, const std::string& backend)
      : meters_(std::make_shared<Meters>(backend)), group_(std::move(group)) {}
  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  absl::StatusOr<std::unique_ptr<Transfer>> Send(at::Tensor tensor, int to) override {
    const int64_t bytes = static_cast<int64_t>(tensor.nbytes());
    return Metered(group_->Send(std::move(tensor), to), bytes, meters_->send);
  }
  absl::StatusOr<std::unique_ptr<Transfer>> Receive(at::Tensor tensor, int from) override {
    const int64_t bytes = static_cast<int64_t>(tensor.nbytes());
    return Metered(group_->Receive(std::move(tensor), from), bytes, meters_->receive);
  }
  absl::Status AllReduceSum(at::Tensor tensor) override {
    const int64_t bytes = static_cast<int64_t>(tensor.nbytes());
    return meters_->reduce.Measure(bytes, [&] { return group_->AllReduceSum(std::move(tensor)); });
  }
  absl::Status AllReduceMax(at::Tensor tensor) override {
    const int64_t bytes = static_cast<int64_t>(tensor.nbytes());
    return meters_->reduce.Measure(bytes, [&] { return group_->AllReduceMax(std::move(tensor)); });
  }
  absl::Status AllGather(std::vector<at::Tensor> parts) override {
    int64_t bytes = 0;
    for (const at::Tensor& part : parts) bytes += static_cast<int64_t>(part.nbytes());
    return meters_->gather.Measure(bytes, [&] { return group_->AllGather(std::move(parts)); });
  }
  absl::Status Barrier() override {
    return meters_->barrier.Measure(0, [&] { return group_->Barrier(); });
  }
  void Abort() override { group_->Abort(); }

 private:
  absl::StatusOr<std::unique_ptr<Transfer>> Metered(absl::StatusOr<std::unique_ptr<Transfer>> transfer, int64_t bytes,
                                                    Meter& meter) {
    if (!transfer.ok()) {
      meter.Failed(transfer.status());
      return transfer;
    }
    return std::make_unique<MeteredTransfer>(*std::move(transfer), bytes, meters_, meter);
  }

  std::shared_ptr<Meters> meters_;
  std::unique_ptr<Group> group_;
};

}  // namespace

std::unique_ptr<Group> MeterGroup(std::unique_ptr<Group> group, const std::string& backend) {
  return std::make_unique<MeteredGroup>(std::move(group), backend);
}

void CountJoinFailure(const absl::Status& status) { CountFailure("join", status); }

}  // namespace calipress::collective
