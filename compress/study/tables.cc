#include "compress/study/tables.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "compress/base/units.h"
#include "compress/study/metrics.h"

namespace calipress::study {
namespace {

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

void CsvRow(const std::vector<std::string>& fields, std::string* csv) {
  absl::StrAppend(
      csv,
      absl::StrJoin(fields, ",",
                    [](std::string* out, const std::string& field) { absl::StrAppend(out, CsvField(field)); }),
      "\r\n");
}

template <typename Message>
std::string Weight(const Message& message) {
  return message.has_domain_weight() ? ExactNumber(message.domain_weight()) : "";
}

std::string MarkdownCell(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}, {"<", "&lt;"}});
}

void MarkdownRow(const std::vector<std::string>& cells, std::string* markdown) {
  absl::StrAppend(markdown, "|");
  for (const std::string& cell : cells) absl::StrAppend(markdown, " ", MarkdownCell(cell), " |");
  absl::StrAppend(markdown, "\n");
}

std::string Short(double value) { return absl::StrFormat("%.5g", value); }

}  // namespace

std::string RunsCsv(const v1::StudyReport& report) {
  std::string csv;
  CsvRow({"run", "method", "source", "draw", "domain_weight", "metric", "value", "error"}, &csv);
  for (const v1::RunReport& run : report.runs()) {
    std::vector<std::string> row = {run.name(), run.method(), run.source(), absl::StrCat(run.draw()), Weight(run)};
    row.resize(8);
    if (!run.error().empty()) {
      row[7] = run.error();
      CsvRow(row, &csv);
      continue;
    }
    for (const Metric& metric : MetricsOf(run)) {
      row[5] = metric.name;
      row[6] = ExactNumber(metric.value);
      CsvRow(row, &csv);
    }
  }
  return csv;
}

std::string StatisticsCsv(const v1::StudyReport& report) {
  std::string csv;
  CsvRow({"method", "source", "domain_weight", "metric", "draws", "mean", "std", "min", "max", "range"}, &csv);
  for (const v1::StudyStatistic& one : report.statistics()) {
    CsvRow({one.method(), one.source(), Weight(one), one.metric(), absl::StrCat(one.draws()), ExactNumber(one.mean()),
            ExactNumber(one.standard_deviation()), ExactNumber(one.min()), ExactNumber(one.max()),
            ExactNumber(one.range())},
           &csv);
  }
  return csv;
}

std::string ComparisonsCsv(const v1::StudyReport& report) {
  std::string csv;
  CsvRow({"method", "other", "source", "domain_weight", "metric", "draws", "share_better"}, &csv);
  for (const v1::StudyComparison& one : report.comparisons()) {
    CsvRow({one.method(), one.other(), one.source(), Weight(one), one.metric(), absl::StrCat(one.draws()),
            ExactNumber(one.share_better())},
           &csv);
  }
  return csv;
}

std::string Markdown(const v1::StudyReport& report) {
  std::string text = "# Study\n\n";
  MarkdownRow({"method", "source", "weight", "metric", "draws", "mean", "std", "min", "max", "range"}, &text);
  absl::StrAppend(&text, "|---|---|---|---|---:|---:|---:|---:|---:|---:|\n");
  for (const v1::StudyStatistic& one : report.statistics()) {
    MarkdownRow({one.method(), one.source(), Weight(one), one.metric(), absl::StrCat(one.draws()), Short(one.mean()),
                 Short(one.standard_deviation()), Short(one.min()), Short(one.max()), Short(one.range())},
                &text);
  }
  if (!report.comparisons().empty()) {
    absl::StrAppend(&text, "\n## In how many draws one method beats another\n\n");
    MarkdownRow({"method", "beats", "source", "weight", "metric", "draws", "share"}, &text);
    absl::StrAppend(&text, "|---|---|---|---|---|---:|---:|\n");
    for (const v1::StudyComparison& one : report.comparisons()) {
      MarkdownRow({one.method(), one.other(), one.source(), Weight(one), one.metric(), absl::StrCat(one.draws()),
                   absl::StrFormat("%.2f", one.share_better())},
                  &text);
    }
  }
  absl::StrAppend(&text, "\n## Checks\n\n");
  if (report.has_repeat_equal()) {
    absl::StrAppend(&text, "- A run, done again, gave ", report.repeat_equal() ? "the same" : "OTHER", " bytes.\n");
  }
  if (report.has_uncalibrated_equal()) {
    absl::StrAppend(&text, "- Methods that take no calibration data gave ",
                    report.uncalibrated_equal() ? "the same" : "OTHER", " bytes for every draw.\n");
  }
  int failed = 0;
  for (const v1::RunReport& run : report.runs()) {
    if (run.error().empty()) continue;
    ++failed;
    absl::StrAppend(&text, "- ", MarkdownCell(run.name()), " failed: ", MarkdownCell(run.error()), "\n");
  }
  absl::StrAppend(&text, "- ", report.runs_size() - failed, " of ", report.runs_size(), " runs ended well.\n");
  for (const v1::RunReport& run : report.runs()) {
    if (run.checkpoint() == ".")
      absl::StrAppend(&text, "- The checkpoint is that of ", MarkdownCell(run.name()), ".\n");
  }
  if (report.kept_size() > 1) {
    absl::StrAppend(&text, "\n## Checkpoints\n\n");
    MarkdownRow({"run", "folder"}, &text);
    absl::StrAppend(&text, "|---|---|\n");
    for (const v1::RunReport& run : report.runs()) {
      if (!run.checkpoint().empty()) MarkdownRow({run.name(), run.checkpoint()}, &text);
    }
  }
  return text;
}

}  // namespace calipress::study
