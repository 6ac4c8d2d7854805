#include "server/fleet/report_bounds.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"

namespace calipress::fleet {
namespace {

constexpr size_t kIdLimit = 128;
constexpr size_t kAddressLimit = 300;
constexpr size_t kLineLimit = 500;
constexpr size_t kUriLimit = 4000;
constexpr int kPhases = 16;
constexpr int kActivities = 32;
constexpr int kLinearsPerBlock = 4096;
constexpr int kEvaluations = 256;
constexpr int kWarnings = 1000;
constexpr int kLayerRatios = 100'000;
// As many as a study may have (compress/recipe/check_study.cc).
constexpr int kRuns = 2001;
constexpr int kWarningsPerRun = 3;

template <typename T>
void CutList(T* list, int limit) {
  if (list->size() > limit) list->DeleteSubrange(limit, list->size() - limit);
}

void CutString(std::string* text, size_t limit) {
  if (text->size() > limit) *text = CutText(*text, limit);
}

// A URI and its query, which stays at the end when names are joined.
std::pair<std::string_view, std::string_view> SplitQuery(std::string_view uri) {
  const size_t mark = uri.find("://") == std::string_view::npos ? std::string_view::npos : uri.find('?');
  if (mark == std::string_view::npos) return {uri, {}};
  return {uri.substr(0, mark), uri.substr(mark)};
}

}  // namespace

std::string CutText(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  constexpr std::string_view kMark = "...";
  size_t end = limit > kMark.size() ? limit - kMark.size() : 0;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)).append(kMark);
}

absl::Status CheckIdentity(const worker::v1::SynchronizeRequest& request) {
  std::vector<FieldViolation> violations;
  const auto check = [&](const char* field, const std::string& value, bool required, size_t limit) {
    if (required && value.empty()) violations.push_back({field, "must be set"});
    if (value.size() > limit) violations.push_back({field, absl::StrCat("must be at most ", limit, " bytes")});
    if (std::any_of(value.begin(), value.end(), [](unsigned char c) { return c <= ' ' || c >= 0x7F; })) {
      violations.push_back({field, "must be printable ASCII without spaces"});
    }
  };
  check("worker_id", request.worker_id(), true, kIdLimit);
  check("session_id", request.session_id(), true, kIdLimit);
  check("capabilities.rendezvous", request.capabilities().rendezvous(), false, kAddressLimit);
  check("stage.job_uid", request.stage().job_uid(), false, kIdLimit);
  check("stage.lease_token", request.stage().lease_token(), false, kIdLimit);
  const std::string& device = request.capabilities().device();
  if (device != "cpu" && device != "cuda") {
    violations.push_back({"capabilities.device", "must be \"cpu\" or \"cuda\""});
  }
  return violations.empty() ? absl::OkStatus() : ViolationsError(reason::kInvalidRequest, violations);
}

void BoundStage(worker::v1::StageState* stage) {
  CutString(stage->mutable_phase(), kIdLimit);
  CutString(stage->mutable_message(), kLineLimit);
  CutList(stage->mutable_phases(), kPhases);
  for (v1::PhaseReport& phase : *stage->mutable_phases()) {
    CutString(phase.mutable_name(), kIdLimit);
    if (phase.activities().size() > kActivities) phase.clear_activities();
  }
  for (worker::v1::FinishedBlock& block : *stage->mutable_finished_blocks()) {
    CutList(block.mutable_linears(), kLinearsPerBlock);
    for (v1::LinearReport& linear : *block.mutable_linears()) {
      CutString(linear.mutable_name(), kLineLimit);
      CutString(linear.mutable_method(), kIdLimit);
    }
  }
  CutList(stage->mutable_kept_runs(), kRuns);
  CutList(stage->mutable_finished_runs(), kRuns);
  for (worker::v1::FinishedRun& run : *stage->mutable_finished_runs()) {
    v1::RunReport* report = run.mutable_report();
    CutString(report->mutable_name(), kLineLimit);
    CutString(report->mutable_error(), kLineLimit);
    CutList(report->mutable_evaluations(), kEvaluations);
    CutList(report->mutable_tasks(), kEvaluations);
    CutList(report->mutable_warnings(), kWarningsPerRun);
    for (std::string& warning : *report->mutable_warnings()) CutString(&warning, kLineLimit);
  }
  if (!stage->has_outcome()) return;
  worker::v1::StageOutcome* outcome = stage->mutable_outcome();
  CutList(outcome->mutable_evaluations(), kEvaluations);
  for (v1::EvaluationResult& evaluation : *outcome->mutable_evaluations()) {
    CutString(evaluation.mutable_name(), kLineLimit);
    CutString(evaluation.mutable_domain(), kLineLimit);
  }
  CutList(outcome->mutable_tasks(), kEvaluations);
  for (v1::TaskResult& task : *outcome->mutable_tasks()) {
    CutString(task.mutable_name(), kLineLimit);
    CutString(task.mutable_kind(), kIdLimit);
    CutString(task.mutable_domain(), kLineLimit);
  }
  CutList(outcome->mutable_layer_ratios(), kLayerRatios);
  for (v1::LayerRatio& ratio : *outcome->mutable_layer_ratios()) CutString(ratio.mutable_pattern(), kIdLimit);
  CutList(outcome->mutable_kept_runs(), kRuns);
  for (std::string& run : *outcome->mutable_kept_runs()) CutString(&run, kLineLimit);
  CutList(outcome->mutable_warnings(), kWarnings);
  for (std::string& warning : *outcome->mutable_warnings()) CutString(&warning, kLineLimit);
}

bool AcceptsBlock(const worker::v1::FinishedBlock& block, int first_block, int end_block,
                  const std::string& staging_uri) {
  if (block.index() < first_block || block.index() >= end_block) return false;
  if (staging_uri.empty() || block.uri().size() > kUriLimit || block.sha256().size() > kIdLimit || block.bytes() < 0) {
    return false;
  }
  const auto [folder, folder_query] = SplitQuery(staging_uri);
  const auto [file, file_query] = SplitQuery(block.uri());
  return folder_query == file_query && file.size() > folder.size() + 1 && file.substr(0, folder.size()) == folder &&
         file[folder.size()] == '/' && file.substr(folder.size()).find("/..") == std::string_view::npos;
}

}  // namespace calipress::fleet
