#include "server/fleet/coordinator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/base/thread.h"
#include "compress/storage/uri.h"
#include "server/fleet/coordinator_impl.h"
#include "server/fleet/fleet_metrics.h"
#include "server/fleet/page_token.h"

namespace calipress::fleet {
namespace {

constexpr int kDefaultPage = 50;
constexpr int kLargestPage = 1000;
constexpr int kLargestEventPage = 1000;

absl::Status RequestIdReused(std::string_view request_id, const std::string& name) {
  return MakeError(absl::StatusCode::kAlreadyExists, reason::kRequestIdReused, ErrorClass::kUser,
                   absl::StrCat("request_id ", std::string(request_id), " was used for ", name,
                                " with another body; use a new request_id for a new job"));
}

}  // namespace

bool HasEnded(v1::CompressionJob::State state) {
  return state == v1::CompressionJob::SUCCEEDED || state == v1::CompressionJob::FAILED ||
         state == v1::CompressionJob::CANCELLED;
}

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(const CoordinatorOptions& options,
                                                                 store::JobStore* store, Publisher* publisher,
                                                                 const Clock& clock) {
  auto coordinator = std::make_unique<CoordinatorImpl>(options, store, publisher, clock);
  CALIPRESS_RETURN_IF_ERROR(coordinator->Restore());
  return std::unique_ptr<Coordinator>(std::move(coordinator));
}

CoordinatorImpl::Section::~Section() { TellNews(); }

void CoordinatorImpl::Section::TellNews() {
  const std::vector<std::string> names(owner_.news_.begin(), owner_.news_.end());
  owner_.news_.clear();
  lock_.unlock();
  if (!names.empty()) owner_.subscriptions_.Notify(names);
  lock_.lock();
}

CoordinatorImpl::CoordinatorImpl(const CoordinatorOptions& options, store::JobStore* store, Publisher* publisher,
                                 const Clock& clock)
    : options_(options), store_(store), publisher_(publisher), clock_(clock), scheduler_(options.scheduler, [] {
        return RandomId();
      }) {}

CoordinatorImpl::~CoordinatorImpl() { Stop(); }

absl::Status CoordinatorImpl::Restore() {
  Section section(*this);
  CALIPRESS_ASSIGN_OR_RETURN(std::vector<store::ActiveJob> active, store_->LoadActive());
  CALIPRESS_ASSIGN_OR_RETURN(std::vector<v1::CompressionJob> unswept, store_->LoadUnswept());
  CALIPRESS_ASSIGN_OR_RETURN(counts_, store_->CountByState());
  const Clock::SteadyTime now = clock_.Steady();
  for (v1::CompressionJob& job : unswept) to_sweep_.push_back({std::move(job), 0, now});
  for (store::ActiveJob& stored : active) {
    WorkingJob& working = working_[stored.row.job.uid()];
    working.job = stored.row.job;
    working.earlier = std::move(stored.earlier_phases);
    working.calibration_ids_uri = stored.calibration_ids_uri;
    working.told = working.job.progress();
    working.last_progress_event = now;
    working.publish_at = now;
    if (stored.attempt) {
      for (const store::LeaseRow& lease : stored.attempt->leases) working.ranks.push_back(lease.stage);
    }
    for (store::BlockRow& block : stored.blocks) working.blocks.emplace(block.block.index(), std::move(block));
    uid_of_name_[working.job.name()] = working.job.uid();
    LogInfo("going on with a stored job", {{"job", working.job.name()},
                                           {"state", v1::CompressionJob::State_Name(working.job.state())},
                                           {"attempt", working.job.attempt()},
                                           {"blocks_done", working.blocks.size()}});
    scheduler_.RestoreJob(RestoredJob(stored), now);
  }
  ApplyDecisions();
  RefreshGauges();
  return Flush();
}

void CoordinatorImpl::Start() {
  tick_thread_ = StartThread("tick", [this] { TickLoop(); });
  publish_thread_ = StartThread("publish", [this] { PublishLoop(); });
}

void CoordinatorImpl::Stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  wake_.notify_all();
  const bool started = publish_thread_.joinable();
  if (tick_thread_.joinable()) tick_thread_.join();
  if (publish_thread_.joinable()) publish_thread_.join();
  // A coordinator that lives for one job should leave nothing behind.
  if (started) RunDue(/*sweep_only=*/true);
}

void CoordinatorImpl::TickLoop() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, std::chrono::duration<double>(options_.tick_seconds), [this] { return stopping_; })) {
        return;
      }
    }
    Tick();
  }
}

WorkingJob* CoordinatorImpl::FindWorking(std::string_view name) {
  const auto uid = uid_of_name_.find(name);
  if (uid == uid_of_name_.end()) return nullptr;
  const auto it = working_.find(uid->second);
  return it == working_.end() ? nullptr : &it->second;
}

v1::CompressionJob CoordinatorImpl::Shown(const WorkingJob& working) const {
  v1::CompressionJob job = working.job;
  if (job.state() == v1::CompressionJob::QUEUED) {
    const std::string waiting = scheduler_.WaitingFor(job.uid(), clock_.Steady());
    if (!waiting.empty()) job.mutable_progress()->set_message(waiting);
  }
  return job;
}

absl::Status CoordinatorImpl::AddReport(v1::CompressionJob* job) const {
  // A study has one of its runs, however it ended.
  if (job->state() != v1::CompressionJob::SUCCEEDED && !job->recipe().has_study()) return absl::OkStatus();
  CALIPRESS_ASSIGN_OR_RETURN(v1::Report report, store_->GetReport(job->uid()));
  if (report.ByteSizeLong() > 0) *job->mutable_report() = std::move(report);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<v1::CompressionJob>> CoordinatorImpl::FindRequest(std::string_view request_id,
                                                                               std::string_view request_digest) {
  if (request_id.empty()) return std::optional<v1::CompressionJob>();
  CALIPRESS_ASSIGN_OR_RETURN(std::optional<store::JobRow> row, store_->FindByRequest(request_id));
  if (!row) return std::optional<v1::CompressionJob>();
  if (row->request_digest != request_digest) return RequestIdReused(request_id, row->job.name());
  if (const WorkingJob* working = FindWorking(row->job.name())) return std::make_optional(Shown(*working));
  CALIPRESS_RETURN_IF_ERROR(AddReport(&row->job));
  return std::make_optional(row->job);
}

absl::StatusOr<std::optional<v1::CompressionJob>> CoordinatorImpl::FindByRequest(std::string_view request_id,
                                                                                 std::string_view request_digest) {
  Section section(*this);
  return FindRequest(request_id, request_digest);
}

absl::Status CoordinatorImpl::CheckOutputFree(const v1::CompressionJob& job) const {
  if (job.output().empty()) return absl::OkStatus();
  const std::string output = storage::FolderKey(job.output());
  for (const auto& [uid, working] : working_) {
    if (HasEnded(working.job.state()) || storage::FolderKey(working.job.output()) != output) continue;
    return PreconditionError(reason::kOutputExists, absl::StrCat(working.job.name(),
                                                                 ", which has not ended, writes to the same output; "
                                                                 "choose another output, or cancel that job first"));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::CompressionJob> CoordinatorImpl::Submit(const Submission& submission) {
  Section section(*this);
  CALIPRESS_ASSIGN_OR_RETURN(std::optional<v1::CompressionJob> repeated,
                             FindRequest(submission.request_id, submission.request_digest));
  if (repeated) return *std::move(repeated);
  CALIPRESS_RETURN_IF_ERROR(CheckOutputFree(submission.job));
  if (static_cast<int>(working_.size()) >= options_.max_unfinished_jobs) {
    return MakeError(absl::StatusCode::kResourceExhausted, reason::kQueueFull, ErrorClass::kEnvironment,
                     absl::StrCat(working_.size(), " jobs have not ended, and no more are accepted; try again later"));
  }
  const std::string uid = RandomId();
  WorkingJob working;
  v1::CompressionJob& job = working.job;
  job.set_name(
      absl::StrCat("compressionJobs/", submission.job_id.empty() ? "job-" + uid.substr(0, 12) : submission.job_id));
  job.set_uid(uid);
  job.set_display_name(submission.job.display_name());
  *job.mutable_labels() = submission.job.labels();
  job.set_model(submission.job.model());
  job.set_output(submission.job.output());
  *job.mutable_recipe() = submission.job.recipe();
  *job.mutable_placement() = submission.job.placement();
  *job.mutable_estimate() = submission.job.estimate();
  job.set_state(v1::CompressionJob::QUEUED);
  job.mutable_progress()->set_blocks_total(job.estimate().blocks());
  SetTimestamp(clock_.Wall(), job.mutable_create_time());
  working.AddEvent(clock_.Wall(), "accepted");
  store::JobRow row{job, submission.request_id, submission.request_digest, 0};
  CALIPRESS_RETURN_IF_ERROR(store_->Create(row, working.change.events).status());
  working.change = {};
  working.changed = false;
  ++counts_[job.state()];
  uid_of_name_[job.name()] = uid;
  LogInfo("job accepted", {{"job", job.name()}, {"method", MethodLabel(job.recipe())}});
  const scheduler::JobSpec spec = SpecOf(job);
  WorkingJob& kept = working_[uid] = std::move(working);
  {
    DecisionTimer timer;
    scheduler_.AddJob(spec, clock_.Steady());
  }
  ApplyDecisions();
  // The job is accepted; what could not be written of its first attempt is written later.
  (void)Flush();
  return Shown(kept);
}

absl::StatusOr<v1::CompressionJob> CoordinatorImpl::Get(std::string_view name) {
  Section section(*this);
  if (const WorkingJob* working = FindWorking(name)) {
    v1::CompressionJob job = Shown(*working);
    if (working->change.report) *job.mutable_report() = *working->change.report;
    return job;
  }
  CALIPRESS_ASSIGN_OR_RETURN(store::JobRow row, store_->Get(name));
  CALIPRESS_RETURN_IF_ERROR(AddReport(&row.job));
  return row.job;
}

absl::StatusOr<v1::ListCompressionJobsResponse> CoordinatorImpl::List(const v1::ListCompressionJobsRequest& request) {
  if (request.page_size() < 0) {
    return ViolationsError(reason::kInvalidRequest, {{"page_size", "must not be negative"}});
  }
  store::ListQuery query;
  for (const int state : request.states()) query.states.push_back(static_cast<v1::CompressionJob::State>(state));
  std::sort(query.states.begin(), query.states.end());
  query.states.erase(std::unique(query.states.begin(), query.states.end()), query.states.end());
  if (!request.page_token().empty()) {
    CALIPRESS_ASSIGN_OR_RETURN(query.before_order, ReadPageToken(request.page_token(), query.states));
  }
  const int page = request.page_size() == 0 ? kDefaultPage : std::min(request.page_size(), kLargestPage);
  query.limit = page + 1;
  Section section(*this);
  CALIPRESS_ASSIGN_OR_RETURN(std::vector<store::JobRow> rows, store_->List(query));
  v1::ListCompressionJobsResponse response;
  if (static_cast<int>(rows.size()) > page) {
    rows.resize(page);
    response.set_next_page_token(MakePageToken(rows.back().order, query.states));
  }
  for (store::JobRow& row : rows) {
    const WorkingJob* working = FindWorking(row.job.name());
    *response.add_compression_jobs() = working != nullptr ? Shown(*working) : std::move(row.job);
  }
  return response;
}

absl::StatusOr<v1::CompressionJob> CoordinatorImpl::Cancel(std::string_view name, std::string_view etag) {
  Section section(*this);
  WorkingJob* working = FindWorking(name);
  v1::CompressionJob job;
  if (working != nullptr) {
    job = working->job;
  } else {
    CALIPRESS_ASSIGN_OR_RETURN(store::JobRow row, store_->Get(name));
    job = std::move(row.job);
  }
  if (!etag.empty() && etag != job.etag()) {
    return MakeError(absl::StatusCode::kAborted, reason::kInvalidRequest, ErrorClass::kUser,
                     absl::StrCat(job.name(), " has changed since its etag was read (it is ",
                                  v1::CompressionJob::State_Name(job.state()),
                                  " now); read it again, or leave the etag out to cancel it whatever its state"));
  }
  if (working == nullptr || HasEnded(job.state()) || job.state() == v1::CompressionJob::CANCELLING) return job;
  const std::string uid = job.uid();
  const scheduler::Job* scheduled = scheduler_.Find(uid);
  if (scheduled != nullptr && !scheduled->Waiting()) {
    SetState(*working, v1::CompressionJob::CANCELLING);
    working->AddEvent(clock_.Wall(), "a cancel was asked for; workers are stopping");
  }
  {
    DecisionTimer timer;
    scheduler_.Cancel(uid, clock_.Steady());
  }
  ApplyDecisions();
  v1::CompressionJob shown = Shown(*working);
  CALIPRESS_RETURN_IF_ERROR(Flush());
  return shown;
}

absl::Status CoordinatorImpl::Delete(std::string_view name) {
  Section section(*this);
  if (const WorkingJob* working = FindWorking(name)) {
    if (!HasEnded(working->job.state())) {
      return PreconditionError(reason::kJobNotTerminal,
                               absl::StrCat(std::string(name), " has not ended (it is ",
                                            v1::CompressionJob::State_Name(working->job.state()),
                                            "); cancel it first, or wait for its end"));
    }
    // It has ended, and the store does not know yet.
    CALIPRESS_RETURN_IF_ERROR(Flush());
  }
  CALIPRESS_ASSIGN_OR_RETURN(const store::JobRow row, store_->Get(name));
  CALIPRESS_RETURN_IF_ERROR(store_->Delete(row.job.uid()));
  --counts_[row.job.state()];
  news_.insert(std::string(name));
  LogInfo("job deleted", {{"job", name}});
  return absl::OkStatus();
}

absl::StatusOr<EventPage> CoordinatorImpl::Events(std::string_view name, int64_t after_sequence, int limit) {
  Section section(*this);
  const WorkingJob* working = FindWorking(name);
  std::string uid;
  bool ended = false;
  if (working != nullptr) {
    // Ends with the event that says so, which is not written yet.
    uid = working->job.uid();
  } else {
    CALIPRESS_ASSIGN_OR_RETURN(const store::JobRow row, store_->Get(name));
    uid = row.job.uid();
    ended = HasEnded(row.job.state());
  }
  limit = std::clamp(limit, 1, kLargestEventPage);
  EventPage page;
  CALIPRESS_ASSIGN_OR_RETURN(page.events, store_->Events(uid, after_sequence, limit));
  page.ended = ended && static_cast<int>(page.events.size()) < limit;
  return page;
}

std::shared_ptr<void> CoordinatorImpl::Subscribe(std::string_view name, std::function<void()> on_news) {
  return subscriptions_.Add(std::string(name), std::move(on_news));
}

void CoordinatorImpl::SetState(WorkingJob& working, v1::CompressionJob::State state) {
  if (working.job.state() == state) return;
  --counts_[working.job.state()];
  ++counts_[state];
  working.job.set_state(state);
}

absl::Status CoordinatorImpl::Flush() {
  for (auto it = working_.begin(); it != working_.end();) {
    WorkingJob& working = it->second;
    if (working.changed) {
      const bool has_events = !working.change.events.empty();
      const absl::Status written = store_->Apply(working.change);
      if (!written.ok() && written.code() != absl::StatusCode::kNotFound) {
        LogError("the job store failed; the change is tried again",
                 {{"job", working.job.name()}, {"error", std::string(written.message())}});
        return written;
      }
      if (has_events) news_.insert(working.job.name());
      working.change = {};
      working.changed = false;
    }
    if (!HasEnded(working.job.state())) {
      ++it;
      continue;
    }
    if (working.job.attempt() > 0 && !working.job.output().empty()) {
      to_sweep_.push_back({working.job, 0, clock_.Steady()});
      wake_.notify_all();
    }
    uid_of_name_.erase(working.job.name());
    it = working_.erase(it);
  }
  return absl::OkStatus();
}

void CoordinatorImpl::Tick() {
  Section section(*this);
  {
    DecisionTimer timer;
    scheduler_.Tick(clock_.Steady());
  }
  ApplyDecisions();
  (void)Flush();
  RefreshGauges();
}

void CoordinatorImpl::RefreshGauges() {
  SetJobCounts(counts_);
  SetWorkers(ListWorkers());
  SetLeases(scheduler_);
  CountLeaseExpirations(scheduler_.leases_expired() - expirations_counted_);
  expirations_counted_ = scheduler_.leases_expired();
  double oldest = 0;
  for (const auto& [uid, working] : working_) {
    if (working.job.state() != v1::CompressionJob::QUEUED) continue;
    const double created = static_cast<double>(working.job.create_time().seconds());
    oldest = oldest == 0 ? created : std::min(oldest, created);
  }
  SetOldestQueued(oldest);
  std::erase_if(capabilities_, [this](const auto& entry) { return scheduler_.workers().Find(entry.first) == nullptr; });
}

}  // namespace calipress::fleet
