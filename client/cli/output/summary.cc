#include "client/cli/output/summary.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output/error_text.h"
#include "client/cli/output/evaluation_tables.h"
#include "client/cli/output/linear_tables.h"
#include "client/cli/output/progress.h"
#include "client/cli/output/report_details.h"
#include "client/cli/output/table.h"
#include "client/cli/output/text.h"
#include "client/lib/rpc_error.h"
#include "compress/base/error.h"
#include "compress/base/units.h"
#include "compress/report/activities.h"
#include "compress/storage/object_store.h"

namespace calipress::cli {
namespace {

using Align = Table::Align;

// Past this many a list stops being read; the report has them all.
constexpr int kShownWarnings = 20;

std::string SizeText(const v1::Report& report) {
  if (report.source_bytes() <= 0 || report.output_bytes() <= 0) return "";
  return absl::StrFormat("size      %s -> %s (%.2f times smaller)\n", FormatBytes(report.source_bytes()),
                         FormatBytes(report.output_bytes()),
                         static_cast<double>(report.source_bytes()) / static_cast<double>(report.output_bytes()));
}

std::string PhasesText(const v1::Report& report) {
  Table table({{"phase"}, {"time", Align::kRight}, {"peak memory", Align::kRight}, {"busy with"}});
  for (const v1::PhaseReport& phase : report.phases()) {
    table.Add({phase.name(), FormatSeconds(phase.seconds()),
               phase.peak_memory_bytes() > 0 ? FormatBytes(phase.peak_memory_bytes()) : "-",
               report::ActivitiesText(phase)});
  }
  if (report.total_seconds() > 0) {
    table.Add({"total", FormatSeconds(report.total_seconds()),
               report.peak_memory_bytes() > 0 ? FormatBytes(report.peak_memory_bytes()) : "-", ""});
  }
  return table.empty() ? "" : table.Render();
}

std::string LinearsText(const v1::Report& report) {
  const v1::LinearReport* worst = nullptr;
  for (const v1::LinearReport& linear : report.linears()) {
    if (worst == nullptr || linear.relative_error() > worst->relative_error()) worst = &linear;
  }
  if (worst == nullptr) return "";
  std::string text = absl::StrCat("linears   ", report.linears_size());
  if (worst->relative_error() > 0) {
    absl::StrAppend(&text, ", largest relative error ", absl::StrFormat("%.4f", worst->relative_error()), " (",
                    OneLine(worst->name()), ")");
  }
  return text + "\n";
}

// The blocks that lose least and most; the report has them all.
std::string RatiosText(const v1::Report& report) {
  if (report.layer_ratios_size() == 0) return "";
  const auto [least, most] =
      std::minmax_element(report.layer_ratios().begin(), report.layer_ratios().end(),
                          [](const v1::LayerRatio& a, const v1::LayerRatio& b) { return a.sparsity() < b.sparsity(); });
  const auto share = [](const v1::LayerRatio& ratio) {
    return absl::StrCat(FormatPercent(ratio.sparsity()), " (block ", ratio.block(),
                        ratio.pattern().empty() ? "" : absl::StrCat(", ", OneLine(ratio.pattern())), ")");
  };
  return absl::StrCat("sparsity  ", share(*least), " to ", share(*most), "\n");
}

std::string CalibrationText(const v1::Report& report) {
  const v1::CalibrationReport& calibration = report.calibration();
  if (calibration.tokens() <= 0) return "";
  std::string text = absl::StrCat("calibrated on ", calibration.sequences(), " sequences of ",
                                  calibration.sequence_length(), " tokens");
  // One source is the recipe's own; of several it is told what each gave.
  for (int i = 0; calibration.parts_size() > 1 && i < calibration.parts_size(); ++i) {
    const v1::CalibrationPart& part = calibration.parts(i);
    absl::StrAppend(&text, i == 0 ? " (" : ", ", OneLine(part.kind()), " ", part.sequences());
  }
  if (calibration.parts_size() > 1) absl::StrAppend(&text, ")");
  if (calibration.vocabulary_coverage() > 0) {
    absl::StrAppend(&text, absl::StrFormat(": repetition %.2f, coverage %.2f, diversity %.2f, Zipf %.2f",
                                           calibration.repetition(), calibration.vocabulary_coverage(),
                                           calibration.ngram_diversity(), calibration.zipf_exponent()));
  }
  if (calibration.has_perplexity()) {
    absl::StrAppend(&text, ", perplexity ", FormatPerplexity(calibration.perplexity()), " (on ",
                    calibration.scored_tokens(), " tokens)");
  }
  if (!calibration.ids_file().empty()) absl::StrAppend(&text, "; ids in ", OneLine(calibration.ids_file()));
  return text + "\n";
}

std::string WarningsText(const v1::Report& report) {
  if (report.warnings_size() == 0) return "";
  std::string text = absl::StrCat(report.warnings_size(), report.warnings_size() == 1 ? " warning\n" : " warnings\n");
  for (int i = 0; i < std::min(report.warnings_size(), kShownWarnings); ++i) {
    absl::StrAppend(&text, "  - ", OneLine(report.warnings(i)), "\n");
  }
  if (report.warnings_size() > kShownWarnings) absl::StrAppend(&text, "  ... the rest is in report.json\n");
  return text;
}

// Parts that are there, with an empty line between.
std::string Joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) {
    if (!part.empty()) absl::StrAppend(&text, text.empty() ? "" : "\n", part);
  }
  return text;
}

}  // namespace

std::string ReportText(const v1::Report& report) {
  return Joined({SizeText(report) + LinearsText(report) + RatiosText(report) + CalibrationText(report),
                 EvaluationText(report), TasksText(report), DomainsText(report), PhasesText(report),
                 WarningsText(report)});
}

std::string FullReportText(const v1::Report& report) {
  return Joined({SizeText(report) + LinearsText(report) + RatiosText(report) + CalibrationText(report),
                 EvaluationText(report), TasksText(report), DomainsText(report), StudyText(report.study()),
                 BlocksText(report), WorstLinearsText(report), CalibrationFactsText(report.calibration()),
                 PhasesText(report), WarningsText(report)});
}

std::string JobText(const v1::CompressionJob& job) {
  std::string text;
  const auto line = [&](const char* title, const std::string& value) {
    if (!value.empty()) text += absl::StrFormat("%-9s %s\n", title, OneLine(value));
  };
  line("job", job.name());
  line("state", StateName(job.state()));
  line("model", storage::RedactUri(job.model()));
  line("output", job.output().empty() ? "" : storage::RedactUri(job.output()));
  if (job.has_progress() && !job.progress().phase().empty()) {
    std::string progress = absl::StrCat(job.progress().phase(), ", ", FormatPercent(job.progress().fraction()));
    if (job.progress().blocks_total() > 0) {
      absl::StrAppend(&progress, ", block ", job.progress().blocks_done(), " of ", job.progress().blocks_total());
    }
    line("progress", progress);
  }
  if (job.attempts_lost() + job.attempts_failed() > 0) {
    line("attempts",
         absl::StrCat(job.attempt(), " (", job.attempts_lost(), " lost, ", job.attempts_failed(), " failed)"));
  }
  if (job.has_error()) text += ErrorText(client::FromRpcStatus(job.error()));
  return text;
}

}  // namespace calipress::cli
