#include "server/fleet/working_job.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/digest.h"
#include "compress/recipe/calibration_plan.h"
#include "server/fleet/rpc_status.h"

namespace calipress::fleet {

void SetTimestamp(Clock::WallTime time, google::protobuf::Timestamp* timestamp) {
  const int64_t micros = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  timestamp->set_seconds(micros / 1000000);
  timestamp->set_nanos(static_cast<int32_t>(micros % 1000000 * 1000));
}

Clock::WallTime ReadTimestamp(const google::protobuf::Timestamp& timestamp) {
  return Clock::WallTime(std::chrono::duration_cast<Clock::WallTime::duration>(
      std::chrono::seconds(timestamp.seconds()) + std::chrono::nanoseconds(timestamp.nanos())));
}

void WorkingJob::Touch(Clock::WallTime now) {
  SetTimestamp(now, job.mutable_update_time());
  job.set_etag(Sha256Of(absl::StrCat(job.uid(), " ", static_cast<int>(job.state()), " ", job.attempt(), " ",
                                     job.attempts_lost(), " ", job.attempts_failed()))
                   .substr(0, 16));
  change.uid = job.uid();
  change.job = job;
  changed = true;
}

void WorkingJob::AddEvent(Clock::WallTime now, const std::string& message) {
  v1::JobEvent event;
  SetTimestamp(now, event.mutable_time());
  event.set_state(job.state());
  *event.mutable_progress() = job.progress();
  event.set_attempt(job.attempt());
  event.set_message(message);
  change.events.push_back(std::move(event));
  told = job.progress();
  Touch(now);
}

void WorkingJob::KeepAttempt(const scheduler::Attempt& attempt) {
  store::AttemptRow row;
  row.number = attempt.number;
  row.phase = static_cast<int>(attempt.phase);
  row.rendezvous = attempt.rendezvous;
  for (const scheduler::Lease& lease : attempt.leases) {
    store::LeaseRow& kept = row.leases.emplace_back();
    kept.rank = lease.rank;
    kept.token = lease.token;
    kept.worker_id = lease.worker_id;
    kept.session_id = lease.session_id;
    kept.device = lease.device;
    kept.first_block = lease.first_block;
    kept.end_block = lease.end_block;
    kept.state = static_cast<int>(lease.state);
    kept.stage = ranks.at(lease.rank);
  }
  change.uid = job.uid();
  change.attempt = std::move(row);
  changed = true;
}

std::vector<RankProgress> WorkingJob::RankShares(const scheduler::Attempt& attempt) const {
  std::vector<RankProgress> shares;
  for (const scheduler::Lease& lease : attempt.leases) {
    shares.push_back({&ranks.at(lease.rank), lease.end_block - lease.first_block});
  }
  return shares;
}

void WorkingJob::UpdateProgress(const scheduler::Attempt& attempt) {
  v1::Progress next = CombineProgress(job, RankShares(attempt), static_cast<int>(blocks.size()));
  next.set_fraction(std::max(next.fraction(), job.progress().fraction()));
  next.set_message(job.progress().message());
  if (next.phase().empty()) next.set_phase(job.progress().phase());
  *job.mutable_progress() = std::move(next);
}

int WorkingJob::FirstUnfinishedBlock() const {
  int next = 0;
  while (blocks.contains(next)) ++next;
  return next;
}

std::vector<worker::v1::FinishedBlock> WorkingJob::Blocks(int before_attempt) const {
  std::vector<worker::v1::FinishedBlock> list;
  for (const auto& [index, row] : blocks) {
    if (before_attempt == 0 || row.attempt < before_attempt) list.push_back(row.block);
  }
  return list;
}

std::string MethodLabel(const v1::Recipe& recipe) {
  std::string label = recipe.has_study() ? "study" : "evaluate";
  for (const v1::Step& step : recipe.steps()) {
    const auto* oneof = v1::Step::descriptor()->FindOneofByName("method");
    const auto* field = step.GetReflection()->GetOneofFieldDescriptor(step, oneof);
    const std::string name = field == nullptr ? "none" : field->name();
    if (label != "evaluate" && label != name) return "mixed";
    label = name;
  }
  return label;
}

scheduler::JobSpec SpecOf(const v1::CompressionJob& job) {
  scheduler::JobSpec spec;
  spec.uid = job.uid();
  spec.blocks = job.estimate().blocks();
  spec.workers = job.placement().workers();
  spec.device = job.placement().device();
  if (job.recipe().sharding() == v1::SHARDING_SAMPLES) {
    // Files of token ids say themselves how many they hold: any number of workers may find something.
    const int64_t most = std::numeric_limits<int>::max();
    const int64_t counted = recipe::CalibrationSequences(job.recipe().calibration()).value_or(most);
    spec.samples = static_cast<int>(counted > 0 ? std::min(counted, most) : most);
  }
  return spec;
}

scheduler::Job RestoredJob(const store::ActiveJob& stored) {
  scheduler::Job job;
  job.spec = SpecOf(stored.row.job);
  job.cancelling = stored.row.job.state() == v1::CompressionJob::CANCELLING;
  job.attempts_lost = stored.row.job.attempts_lost();
  job.attempts_failed = stored.row.job.attempts_failed();
  if (!stored.attempt) return job;
  job.attempt.number = stored.attempt->number;
  job.attempt.phase = static_cast<scheduler::AttemptPhase>(stored.attempt->phase);
  job.attempt.rendezvous = stored.attempt->rendezvous;
  for (const store::LeaseRow& row : stored.attempt->leases) {
    scheduler::Lease& lease = job.attempt.leases.emplace_back();
    lease.rank = row.rank;
    lease.token = row.token;
    lease.worker_id = row.worker_id;
    lease.session_id = row.session_id;
    lease.device = row.device;
    lease.first_block = row.first_block;
    lease.end_block = row.end_block;
    lease.state = static_cast<scheduler::LeaseState>(row.state);
    if (lease.state == scheduler::LeaseState::kFailed) lease.failure = FromRpcStatus(row.stage.outcome().status());
  }
  return job;
}

}  // namespace calipress::fleet
