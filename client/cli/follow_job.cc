#include "client/cli/follow_job.h"

#include "client/cli/exit_code.h"
#include "client/cli/output/error_text.h"
#include "client/cli/output/json.h"
#include "client/cli/output/summary.h"
#include "client/lib/rpc_error.h"
#include "compress/storage/object_store.h"

namespace calipress::cli {

absl::StatusOr<v1::CompressionJob> FollowJob(client::CompressionClient* client, const std::string& name,
                                             ProgressView* view, const CancellationToken& cancellation) {
  const absl::Status status = client->Watch(
      name, 0, [&](const v1::JobEvent& event) { view->OnEvent(event); }, cancellation);
  view->Finish();
  if (!status.ok()) return status;
  return client->Get(name);
}

int ShowOutcome(const v1::CompressionJob& job, bool json, const Console& console) {
  if (json) console.out << OutcomeJsonLine(job) << std::endl;
  if (job.state() == v1::CompressionJob::SUCCEEDED) {
    if (!json && !job.output().empty()) {
      console.out << "written   " << storage::RedactUri(job.output()) << "\n"
                  << "report    " << storage::RedactUri(storage::JoinUri(job.output(), "report.html")) << "\n";
    }
    if (!json) console.out << ReportText(job.report()) << std::flush;
  } else if (job.has_error()) {
    console.err << ErrorText(client::FromRpcStatus(job.error())) << std::flush;
  } else {
    console.err << "the job was " << StateName(job.state()) << std::endl;
  }
  // A study that did not come to its end has measured something all the same.
  if (!json && job.state() != v1::CompressionJob::SUCCEEDED && job.report().has_study()) {
    console.out << ReportText(job.report()) << std::flush;
  }
  return ExitCodeOf(job.state());
}

}  // namespace calipress::cli
