#include "client/cli/embedded/local_job.h"

#include <CLI/CLI.hpp>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/follow_job.h"
#include "client/cli/output/error_text.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"

namespace calipress::cli {
namespace {

// On the job, so that a later run knows its own request again after defaults were filled in.
constexpr char kDigestLabel[] = "calipress.dev/run-request";

std::string RequestDigest(const v1::CompressionJob& job) { return Sha256Of(job.SerializeAsString()); }

class LocalJob {
 public:
  LocalJob(LocalCluster* cluster, const Interrupt* interrupt, const CancellationToken& broken, const Console& console,
           bool json)
      : cluster_(*cluster),
        client_(*cluster->client()),
        interrupt_(*interrupt),
        broken_(broken),
        console_(console),
        json_(json) {}

  LocalJobResult Run(v1::CreateCompressionJobRequest request) {
    v1::CompressionJob* body = request.mutable_compression_job();
    const std::string digest = RequestDigest(*body);
    (*body->mutable_labels())[kDigestLabel] = digest;
    auto job = Unfinished(digest);
    if (job.ok() && !job->has_value()) job = Created(client_.Create(request));
    if (!job.ok()) {
      console_.err << ErrorText(job.status());
      return {ExitCodeOf(job.status()), false};
    }
    return Follow((*job)->name());
  }

 private:
  static absl::StatusOr<std::optional<v1::CompressionJob>> Created(absl::StatusOr<v1::CompressionJob> job) {
    if (!job.ok()) return job.status();
    return *std::move(job);
  }

  absl::StatusOr<std::optional<v1::CompressionJob>> Unfinished(const std::string& digest) {
    v1::ListCompressionJobsRequest request;
    for (const auto state : {v1::CompressionJob::QUEUED, v1::CompressionJob::PREPARING, v1::CompressionJob::RUNNING,
                             v1::CompressionJob::CANCELLING}) {
      request.add_states(state);
    }
    CALIPRESS_ASSIGN_OR_RETURN(const v1::ListCompressionJobsResponse known, client_.List(request));
    for (const v1::CompressionJob& job : known.compression_jobs()) {
      const auto label = job.labels().find(kDigestLabel);
      const bool same = label != job.labels().end() && label->second == digest;
      if (same && job.state() != v1::CompressionJob::CANCELLING) {
        console_.err << "going on with " << job.name() << ", which was interrupted" << std::endl;
        return job;
      }
      CALIPRESS_RETURN_IF_ERROR(client_.Cancel(job.name()).status());
      const auto view = NoProgress();
      CALIPRESS_RETURN_IF_ERROR(FollowJob(&client_, job.name(), view.get(), interrupt_.first()).status());
    }
    return std::nullopt;
  }

  LocalJobResult Follow(const std::string& name) {
    // One token for both ends of waiting; which of them it was is looked at afterwards.
    CancellationToken stop;
    const auto on_interrupt = interrupt_.first().OnCancel([&] { stop.Cancel(interrupt_.first().status()); });
    const auto on_broken = broken_.OnCancel([&] { stop.Cancel(broken_.status()); });
    const auto view = console_.Progress();
    auto job = FollowJob(&client_, name, view.get(), stop);
    if (!job.ok() && interrupt_.first().cancelled()) {
      console_.err << "cancelling (Ctrl-C again leaves at once)" << std::endl;
      job = client_.Cancel(name);
      if (job.ok()) job = FollowJob(&client_, name, NoProgress().get(), interrupt_.second());
    }
    if (!job.ok()) {
      console_.err << ErrorText(job.status()) << "  logs: " << cluster_.KeepLogs() << std::endl;
      return {absl::IsCancelled(job.status()) ? kInterrupted : kJobFailed, true};
    }
    const int exit_code = ShowOutcome(*job, json_, console_);
    if (job->state() == v1::CompressionJob::FAILED) {
      console_.err << "  logs: " << cluster_.KeepLogs() << std::endl;
    }
    return {exit_code, true, *std::move(job)};
  }

  LocalCluster& cluster_;
  client::CompressionClient& client_;
  const Interrupt& interrupt_;
  const CancellationToken broken_;
  const Console& console_;
  const bool json_;
};

}  // namespace

LocalJobResult RunLocalJob(v1::CreateCompressionJobRequest request, const LocalClusterOptions& options, bool json,
                           const Interrupt& interrupt, const Console& console) {
  const CancellationToken broken;
  const auto cluster = LocalCluster::Start(options, interrupt.first(), broken);
  if (!cluster.ok()) {
    if (interrupt.first().cancelled()) return {kInterrupted, false};
    console.err << ErrorText(cluster.status());
    return {ErrorClassOf(cluster.status()) == ErrorClass::kUser ? kRefused : kJobFailed, false};
  }
  return LocalJob(cluster->get(), &interrupt, broken, console, json).Run(std::move(request));
}

void AddLocalOptions(CLI::App* command, LocalClusterOptions* options) {
  command->add_option("--threads-per-worker", options->threads_per_worker, "default: the machine's cores / workers")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  command->add_option("--device", options->device, "cpu or cuda")
      ->capture_default_str()
      ->check(CLI::IsMember({"cpu", "cuda"}));
}

}  // namespace calipress::cli
