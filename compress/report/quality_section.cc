#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "compress/base/units.h"
#include "compress/report/html.h"
#include "compress/report/relative.h"
#include "compress/report/sections.h"

namespace calipress::report {
namespace {

std::string TextsTable(const v1::Report& report) {
  const bool compared = std::any_of(report.evaluations().begin(), report.evaluations().end(),
                                    [](const auto& text) { return text.has_perplexity_original(); });
  std::vector<HtmlTable::Column> columns = {{"text"}, {"domain"}, {"windows", true}, {"tokens", true}};
  if (compared) {
    for (const char* title : {"perplexity before", "after", "change", "KL", "JS", "same first token"}) {
      columns.push_back({title, true});
    }
  } else {
    columns.push_back({"perplexity", true});
  }
  HtmlTable table(columns);
  for (const v1::EvaluationResult& text : report.evaluations()) {
    std::vector<std::string> row = {
        Escaped(text.name()), Escaped(text.domain()),
        absl::StrCat(Grouped(text.windows()), " \xC3\x97 ", Grouped(text.sequence_length())), Grouped(text.tokens())};
    if (compared) {
      const bool before = text.has_perplexity_original();
      row.push_back(before ? Fixed(text.perplexity_original(), 4) : kNone);
      row.push_back(Fixed(text.perplexity(), 4));
      row.push_back(before ? Change(text.perplexity_original(), text.perplexity()) : kNone);
      row.push_back(text.has_kl_divergence() ? Fixed(text.kl_divergence(), 5) : kNone);
      row.push_back(text.has_js_divergence() ? Fixed(text.js_divergence(), 5) : kNone);
      row.push_back(text.has_top1_agreement() ? Percent(text.top1_agreement()) : kNone);
    } else {
      row.push_back(Fixed(text.perplexity(), 4));
    }
    table.Add(std::move(row));
  }
  return table.Render();
}

// Of a share of n examples, were they drawn anew.
std::string WithError(double share, int64_t examples) {
  const double error = std::sqrt(share * (1 - share) / static_cast<double>(examples));
  if (!std::isfinite(share) || !std::isfinite(error)) return Percent(share);
  return absl::StrCat(Fixed(100 * share, 1), " \xC2\xB1 ", Fixed(100 * error, 1), " %");
}

std::string Ratio(double value) { return Fixed(value, 4); }

std::string TasksTable(const v1::Report& report) {
  const auto any = [&](auto has) { return std::any_of(report.tasks().begin(), report.tasks().end(), has); };
  const bool compared = any([](const v1::TaskResult& task) { return task.has_accuracy_original(); });
  const bool choices = any([](const v1::TaskResult& task) { return task.has_accuracy_normalized(); });
  const bool words = any([](const v1::TaskResult& task) { return task.has_perplexity(); });
  std::vector<HtmlTable::Column> columns = {{"task"}, {"domain"}, {"examples", true}};
  const auto pair = [&](const char* title) {
    if (compared) columns.push_back({absl::StrCat(title, " before"), true});
    columns.push_back({compared ? "after" : title, true});
  };
  pair("accuracy");
  if (compared) columns.push_back({"relative", true});
  if (choices) pair("per byte");
  if (words) pair("perplexity of a word");
  HtmlTable table(columns);
  for (const v1::TaskResult& task : report.tasks()) {
    std::vector<std::string> row = {Escaped(task.name()), Escaped(task.domain()), Grouped(task.examples())};
    if (compared) {
      row.push_back(task.has_accuracy_original() ? WithError(task.accuracy_original(), task.examples()) : kNone);
    }
    row.push_back(WithError(task.accuracy(), task.examples()));
    if (compared) {
      row.push_back(task.has_accuracy_original() ? Ratio(task.accuracy() / task.accuracy_original()) : kNone);
    }
    if (choices && compared) {
      row.push_back(task.has_accuracy_normalized_original() ? Percent(task.accuracy_normalized_original()) : kNone);
    }
    if (choices) row.push_back(task.has_accuracy_normalized() ? Percent(task.accuracy_normalized()) : kNone);
    if (words && compared) row.push_back(task.has_perplexity_original() ? Fixed(task.perplexity_original(), 2) : kNone);
    if (words) row.push_back(task.has_perplexity() ? Fixed(task.perplexity(), 2) : kNone);
    table.Add(std::move(row));
  }
  if (table.empty()) return "";
  return absl::StrCat("<h3>Tasks</h3>\n", table.Render(),
                      "<p class=\"note\">\xC2\xB1 is one standard error of so many examples. The same examples were "
                      "asked before and after, so that a change is surer than that.</p>\n");
}

std::string DomainsTable(const v1::Report& report) {
  HtmlTable table(
      {{"domain"}, {"relative accuracy", true}, {"tasks", true}, {"relative perplexity", true}, {"texts", true}});
  for (const DomainRelative& domain : RelativeByDomain(report.evaluations(), report.tasks())) {
    table.Add({Escaped(domain.domain), domain.tasks > 0 ? Ratio(domain.accuracy) : kNone, absl::StrCat(domain.tasks),
               domain.texts > 0 ? Ratio(domain.perplexity) : kNone, absl::StrCat(domain.texts)});
  }
  if (table.empty()) return "";
  return absl::StrCat("<h3>By domain</h3>\n", table.Render(),
                      "<p class=\"note\">1 is what the original has: accuracies after / before, perplexities before / "
                      "after, each task and text counting the same.</p>\n");
}

}  // namespace

std::string QualitySection(const v1::Report& report) {
  return Section("Quality", TextsTable(report) + TasksTable(report) + DomainsTable(report));
}

std::string WarningsSection(const v1::Report& report) {
  if (report.warnings_size() == 0) return "";
  std::string items;
  for (const std::string& warning : report.warnings()) absl::StrAppend(&items, "<li>", Escaped(warning), "</li>\n");
  return Section("Warnings", absl::StrCat("<ul class=\"warnings\">\n", items, "</ul>\n"));
}

}  // namespace calipress::report
