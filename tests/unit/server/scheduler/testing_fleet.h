#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/base/error.h"
#include "server/scheduler/scheduler.h"

namespace calipress::scheduler {

// A scheduler, a clock that tests move, and workers whose reports tests script.
class Fleet {
 public:
  using Kind = Decision::Kind;

  explicit Fleet(Options options = {}) : options_(options) { Restart(); }

  // A new scheduler that knows nothing; the time goes on.
  void Restart() {
    scheduler_ = std::make_unique<Scheduler>(options_, [this] { return "token-" + std::to_string(++tokens_); });
  }

  Scheduler& scheduler() { return *scheduler_; }
  Time now() const { return now_; }
  void Pass(double seconds) {
    now_ += std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(seconds));
  }

  void Add(const std::string& uid, int blocks, int workers, const std::string& device = "cpu") {
    scheduler_->AddJob({uid, blocks, workers, device}, now_);
  }
  void AddReplicas(const std::string& uid, int blocks, int workers, int samples) {
    scheduler_->AddJob({uid, blocks, workers, "cpu", samples}, now_);
  }

  // What the worker was told at its last report.
  struct Order {
    bool accepted = false;
    int rank = -1;
    std::string job;
    int attempt = 0;
    std::string token;
    int first_block = -1;
    int end_block = -1;
  };

  WorkerReport Words(const std::string& worker) const {
    WorkerReport report;
    report.worker.id = worker;
    report.worker.session_id = worker + "-life-1";
    report.worker.device = "cpu";
    report.worker.rendezvous = worker + ":1";
    return report;
  }

  Order Send(const WorkerReport& report) {
    Order order;
    order.accepted = scheduler_->Report(report, now_).accepted;
    if (auto assignment = scheduler_->AssignmentOf(report.worker.id, report.worker.session_id)) {
      order.rank = assignment->lease->rank;
      order.job = assignment->job->spec.uid;
      order.attempt = assignment->job->attempt.number;
      order.token = assignment->lease->token;
      order.first_block = assignment->lease->first_block;
      order.end_block = assignment->lease->end_block;
    }
    return order;
  }

  Order Idle(const std::string& worker) { return Send(Words(worker)); }

  Order Working(const std::string& worker, const std::string& token) {
    WorkerReport report = Words(worker);
    report.lease_token = token;
    return Send(report);
  }

  Order Ended(const std::string& worker, const std::string& token, absl::Status outcome) {
    WorkerReport report = Words(worker);
    report.lease_token = token;
    report.outcome = std::move(outcome);
    return Send(report);
  }

  std::vector<Kind> Decided() {
    std::vector<Kind> kinds;
    last_ = scheduler_->TakeDecisions();
    for (const Decision& decision : last_) kinds.push_back(decision.kind);
    return kinds;
  }

  // Of the last Decided().
  const std::vector<Decision>& last() const { return last_; }

 private:
  Options options_;
  Time now_{std::chrono::hours(1)};
  int tokens_ = 0;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<Decision> last_;
};

}  // namespace calipress::scheduler
