#include "client/cli/output/evaluation_tables.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/output/table.h"
#include "compress/base/units.h"
#include "compress/report/relative.h"

namespace calipress::cli {
namespace {

using Align = Table::Align;

std::string Change(double before, double after) {
  return before > 0 ? absl::StrFormat("%+.2f %%", 100 * (after / before - 1)) : "-";
}

std::string Ratio(double value) { return absl::StrFormat("%.4f", value); }

}  // namespace

std::string EvaluationText(const v1::Report& report) {
  if (report.evaluations_size() == 0) return "";
  const bool compared = std::any_of(report.evaluations().begin(), report.evaluations().end(),
                                    [](const auto& result) { return result.has_perplexity_original(); });
  std::vector<Table::Column> columns = {{"text"}, {"windows", Align::kRight}, {"tokens", Align::kRight}};
  if (compared) {
    for (const char* title : {"perplexity before", "after", "change", "KL", "JS", "top-1"}) {
      columns.push_back({title, Align::kRight});
    }
  } else {
    columns.push_back({"perplexity", Align::kRight});
  }
  Table table(columns);
  for (const v1::EvaluationResult& result : report.evaluations()) {
    // A perplexity says nothing without the length of its windows (methods.md 8.1).
    std::vector<std::string> row = {result.name(), absl::StrCat(result.windows(), " x ", result.sequence_length()),
                                    absl::StrCat(result.tokens())};
    if (compared) {
      const bool has_before = result.has_perplexity_original();
      row.push_back(has_before ? FormatPerplexity(result.perplexity_original()) : "-");
      row.push_back(FormatPerplexity(result.perplexity()));
      row.push_back(has_before ? Change(result.perplexity_original(), result.perplexity()) : "-");
      row.push_back(result.has_kl_divergence() ? absl::StrFormat("%.5f", result.kl_divergence()) : "-");
      row.push_back(result.has_js_divergence() ? absl::StrFormat("%.5f", result.js_divergence()) : "-");
      row.push_back(result.has_top1_agreement() ? FormatPercent(result.top1_agreement()) : "-");
    } else {
      row.push_back(FormatPerplexity(result.perplexity()));
    }
    table.Add(std::move(row));
  }
  return table.Render();
}

std::string TasksText(const v1::Report& report) {
  const auto any = [&](auto has) { return std::any_of(report.tasks().begin(), report.tasks().end(), has); };
  const bool compared = any([](const v1::TaskResult& task) { return task.has_accuracy_original(); });
  const bool choices = any([](const v1::TaskResult& task) { return task.has_accuracy_normalized(); });
  const bool words = any([](const v1::TaskResult& task) { return task.has_perplexity(); });
  std::vector<Table::Column> columns = {{"task"}, {"examples", Align::kRight}};
  const auto pair = [&](const char* title) {
    if (compared) columns.push_back({absl::StrCat(title, " before"), Align::kRight});
    columns.push_back({compared ? "after" : title, Align::kRight});
  };
  pair("accuracy");
  if (choices) pair("per byte");
  if (words) pair("perplexity");
  Table table(columns);
  for (const v1::TaskResult& task : report.tasks()) {
    std::vector<std::string> row = {task.name(), absl::StrCat(task.examples())};
    const auto cells = [&](bool has_before, double before, bool has_after, double after, auto format) {
      if (compared) row.push_back(has_before ? format(before) : "-");
      row.push_back(has_after ? format(after) : "-");
    };
    cells(task.has_accuracy_original(), task.accuracy_original(), true, task.accuracy(), FormatPercent);
    if (choices) {
      cells(task.has_accuracy_normalized_original(), task.accuracy_normalized_original(),
            task.has_accuracy_normalized(), task.accuracy_normalized(), FormatPercent);
    }
    if (words) {
      cells(task.has_perplexity_original(), task.perplexity_original(), task.has_perplexity(), task.perplexity(),
            FormatPerplexity);
    }
    table.Add(std::move(row));
  }
  return table.empty() ? "" : table.Render();
}

std::string DomainsText(const v1::Report& report) {
  Table table({{"domain"},
               {"relative accuracy", Align::kRight},
               {"tasks", Align::kRight},
               {"relative perplexity", Align::kRight},
               {"texts", Align::kRight}});
  for (const report::DomainRelative& domain : report::RelativeByDomain(report.evaluations(), report.tasks())) {
    table.Add({domain.domain, domain.tasks > 0 ? Ratio(domain.accuracy) : "-", absl::StrCat(domain.tasks),
               domain.texts > 0 ? Ratio(domain.perplexity) : "-", absl::StrCat(domain.texts)});
  }
  return table.empty() ? "" : table.Render();
}

}  // namespace calipress::cli
