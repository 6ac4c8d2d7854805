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

// Of one kind, with the kind's own second figure.
struct SecondFigure {
  const char* title;
  std::string (*before)(const v1::TaskResult& task);
  std::string (*after)(const v1::TaskResult& task);
};

std::string TasksTable(const char* title, const std::vector<const v1::TaskResult*>& tasks, const SecondFigure& second) {
  if (tasks.empty()) return "";
  const bool compared =
      std::any_of(tasks.begin(), tasks.end(), [](const v1::TaskResult* task) { return task->has_accuracy_original(); });
  std::vector<HtmlTable::Column> columns = {{"task"}, {"domain"}, {"examples", true}};
  if (compared) columns.push_back({"accuracy before", true});
  columns.push_back({compared ? "after" : "accuracy", true});
  if (compared) columns.insert(columns.end(), {{"relative", true}, {absl::StrCat(second.title, " before"), true}});
  columns.push_back({compared ? "after" : second.title, true});
  HtmlTable table(columns);
  for (const v1::TaskResult* task : tasks) {
    std::vector<std::string> row = {Escaped(task->name()), Escaped(task->domain()), Grouped(task->examples())};
    const bool before = task->has_accuracy_original();
    if (compared) row.push_back(before ? WithError(task->accuracy_original(), task->examples()) : kNone);
    row.push_back(WithError(task->accuracy(), task->examples()));
    if (compared) {
      row.push_back(before ? Ratio(task->accuracy() / task->accuracy_original()) : kNone);
      row.push_back(before ? second.before(*task) : kNone);
    }
    row.push_back(second.after(*task));
    table.Add(std::move(row));
  }
  return absl::StrCat("<h3>", title, "</h3>\n", table.Render());
}

std::string TasksTables(const v1::Report& report) {
  if (report.tasks_size() == 0) return "";
  std::vector<const v1::TaskResult*> choices, words;
  bool compared = false;
  for (const v1::TaskResult& task : report.tasks()) {
    (task.kind() == "last_word" ? words : choices).push_back(&task);
    compared = compared || task.has_accuracy_original();
  }
  using Task = v1::TaskResult;
  const SecondFigure per_byte = {"per byte",
                                 [](const Task& task) { return Percent(task.accuracy_normalized_original()); },
                                 [](const Task& task) { return Percent(task.accuracy_normalized()); }};
  const SecondFigure perplexity = {"perplexity of a word",
                                   [](const Task& task) { return Fixed(task.perplexity_original(), 2); },
                                   [](const Task& task) { return Fixed(task.perplexity(), 2); }};
  return absl::StrCat(TasksTable("Multiple choice", choices, per_byte), TasksTable("Last words", words, perplexity),
                      "<p class=\"note\">\xC2\xB1 is one standard error of so many examples.",
                      compared ? " The same ones were asked before and after: the change is surer than that." : "",
                      "</p>\n");
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
  return Section("Quality", TextsTable(report) + TasksTables(report) + DomainsTable(report));
}

std::string WarningsSection(const v1::Report& report) {
  if (report.warnings_size() == 0) return "";
  std::string items;
  for (const std::string& warning : report.warnings()) absl::StrAppend(&items, "<li>", Escaped(warning), "</li>\n");
  return Section("Warnings", absl::StrCat("<ul class=\"warnings\">\n", items, "</ul>\n"));
}

}  // namespace calipress::report
