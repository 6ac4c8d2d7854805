#include <algorithm>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "compress/base/units.h"
#include "compress/report/chart.h"
#include "compress/report/html.h"
#include "compress/report/sections.h"
#include "compress/report/study_values.h"

namespace calipress::report {
namespace {

// RunReport.checkpoint of a run that is kept alone.
constexpr char kOutputItself[] = ".";

std::string Path(const std::string& text) { return absl::StrCat("<span class=\"path\">", Escaped(text), "</span>"); }

constexpr size_t kShownDigest = 12;

template <typename Entry>
bool Sweeps(const google::protobuf::RepeatedPtrField<Entry>& entries) {
  return std::any_of(entries.begin(), entries.end(), [](const Entry& entry) { return entry.has_domain_weight(); });
}

template <typename Entry>
std::string Weight(const Entry& entry) {
  return entry.has_domain_weight() ? TickLabel(entry.domain_weight()) : kNone;
}

std::string StatisticsTable(const v1::StudyReport& study) {
  const bool sweeps = Sweeps(study.statistics());
  std::vector<HtmlTable::Column> columns = {{"metric"}, {"method"}, {"source"}};
  if (sweeps) columns.push_back({"weight", true});
  for (const char* title : {"draws", "mean", "standard deviation", "least", "most", "range"})
    columns.push_back({title, true});
  HtmlTable table(columns);
  for (const v1::StudyStatistic& one : study.statistics()) {
    std::vector<std::string> row = {Escaped(one.metric()), Escaped(one.method()), Escaped(one.source())};
    if (sweeps) row.push_back(Weight(one));
    for (const std::string& cell : {absl::StrCat(one.draws()), Fixed(one.mean(), 4), Fixed(one.standard_deviation(), 4),
                                    Fixed(one.min(), 4), Fixed(one.max(), 4), Fixed(one.range(), 4)}) {
      row.push_back(cell);
    }
    table.Add(std::move(row));
  }
  return table.Render();
}

// One row of a plot: box from the first to the third quartile, whiskers to the ends, every draw a point.
std::string Box(const Plot& plot, const Axis& axis, const std::vector<double>& values, double y) {
  constexpr double kHalf = 8;
  const auto x_of = [&](double value) { return plot.left + axis.Place(value) * plot.width; };
  const double first = x_of(Quantile(values, 0.25)), third = x_of(Quantile(values, 0.75));
  const double median = x_of(Quantile(values, 0.5));
  const double low = x_of(values.front()), high = x_of(values.back());
  std::string svg =
      absl::StrCat(Line(low, y, first, y, "whisker"), Line(third, y, high, y, "whisker"),
                   Line(low, y - 4, low, y + 4, "whisker"), Line(high, y - 4, high, y + 4, "whisker"),
                   "<rect class=\"box\" x=\"", At(first), "\" y=\"", At(y - kHalf), "\" width=\"", At(third - first),
                   "\" height=\"", At(2 * kHalf), "\"/>", Line(median, y - kHalf, median, y + kHalf, "median"));
  for (const double value : values) {
    absl::StrAppend(&svg, "<circle class=\"draw\" cx=\"", At(x_of(value)), "\" cy=\"", At(y), "\" r=\"2.6\"><title>",
                    Fixed(value, 5), "</title></circle>");
  }
  return svg;
}

// The sources of one method side by side, on a scale of their own: spreads of good methods are small beside what lies
// between a good one and a bad one.
std::string MethodPlot(std::span<const StudyGroup> groups, double top, double* bottom) {
  double least = groups[0].values.front(), most = groups[0].values.back();
  for (const StudyGroup& group : groups) {
    least = std::min(least, group.values.front());
    most = std::max(most, group.values.back());
  }
  const Axis axis = LinearAxis(least, most, /*from_zero=*/false, 6);
  constexpr double kTitle = 24, kRow = 30, kTicks = 28;
  const Plot plot{230, top + kTitle, 460, kRow * static_cast<double>(groups.size())};
  std::string svg = Label(plot.left, top + 14, Escaped(groups[0].method), "name");
  for (const double tick : axis.ticks) {
    const double x = plot.left + axis.Place(tick) * plot.width;
    absl::StrAppend(&svg, Line(x, plot.top, x, plot.bottom(), "grid"),
                    Label(x, plot.bottom() + 16, TickLabel(tick), "tick mid"));
  }
  double y = plot.top + kRow / 2;
  for (const StudyGroup& group : groups) {
    absl::StrAppend(&svg, Label(plot.left - 10, y + 4, Escaped(group.label), "name end"),
                    Box(plot, axis, group.values, y));
    y += kRow;
  }
  *bottom = plot.bottom() + kTicks;
  return svg;
}

std::string BoxPlot(const v1::StudyReport& study, const std::string& metric) {
  const std::vector<StudyGroup> groups = StudyGroups(study, metric);
  if (groups.empty()) return "";
  std::string svg;
  double bottom = 0;
  for (size_t begin = 0; begin < groups.size();) {
    size_t end = begin + 1;
    while (end < groups.size() && groups[end].method == groups[begin].method) ++end;
    absl::StrAppend(&svg, MethodPlot(std::span(groups).subspan(begin, end - begin), bottom, &bottom));
    begin = end;
  }
  return absl::StrCat("<h3>", Escaped(metric), "</h3>\n<figure class=\"wide\">",
                      Svg(714, bottom, absl::StrCat(Escaped(metric), " by method and source"), svg), "</figure>\n");
}

std::string BoxPlots(const v1::StudyReport& study) {
  std::string plots;
  for (const std::string& metric : PlottedMetrics(study)) absl::StrAppend(&plots, BoxPlot(study, metric));
  if (plots.empty()) return "";
  return absl::StrCat(plots,
                      "<p class=\"note\">Box: first to third quartile and median; whiskers: least and most; points: "
                      "the draws. Each method has its own scale.</p>\n");
}

// What the runs measured the original model at: the same in all of them.
std::string OriginalTable(const v1::StudyReport& study) {
  HtmlTable table({{"original model"}, {"perplexity", true}, {"accuracy", true}});
  for (const v1::RunReport& run : study.runs()) {
    if (!run.error().empty()) continue;
    for (const v1::EvaluationResult& text : run.evaluations()) {
      if (text.has_perplexity_original()) {
        table.Add({Escaped(text.name()), FormatPerplexity(text.perplexity_original()), kNone});
      }
    }
    for (const v1::TaskResult& task : run.tasks()) {
      if (task.has_accuracy_original()) {
        table.Add({Escaped(task.name()),
                   task.has_perplexity_original() ? FormatPerplexity(task.perplexity_original()) : kNone,
                   Percent(task.accuracy_original())});
      }
    }
    break;
  }
  return table.empty() ? "" : table.Render();
}

std::string CalibrationTable(const v1::StudyReport& study) {
  HtmlTable table({{"source"},
                   {"draw", true},
                   {"sequences", true},
                   {"tokens", true},
                   {"perplexity", true},
                   {"of tokens", true},
                   {"repetition", true},
                   {"vocabulary", true},
                   {"n-gram diversity", true},
                   {"Zipf exponent", true},
                   {"ids' SHA-256"}});
  for (const v1::RunReport* run : RunsOfSets(study)) {
    const v1::CalibrationReport& set = run->calibration();
    table.Add({Escaped(run->source()), absl::StrCat(run->draw()), absl::StrCat(set.sequences()),
               absl::StrCat(set.tokens()), set.has_perplexity() ? FormatPerplexity(set.perplexity()) : kNone,
               absl::StrCat(set.scored_tokens()), Percent(set.repetition()), Percent(set.vocabulary_coverage()),
               Fixed(set.ngram_diversity(), 3), Fixed(set.zipf_exponent(), 3),
               Path(set.fingerprint().substr(0, kShownDigest))});
  }
  if (table.empty()) return "";
  return absl::StrCat("<h3>Calibration sets</h3>\n", table.Render());
}

std::string ComparisonsTable(const v1::StudyReport& study) {
  const bool sweeps = Sweeps(study.comparisons());
  std::vector<HtmlTable::Column> columns = {{"metric"}, {"source"}};
  if (sweeps) columns.push_back({"weight", true});
  columns.insert(columns.end(), {{"method"}, {"is better than"}, {"in", true}, {"of draws", true}});
  HtmlTable table(columns);
  for (const v1::StudyComparison& one : study.comparisons()) {
    std::vector<std::string> row = {Escaped(one.metric()), Escaped(one.source())};
    if (sweeps) row.push_back(Weight(one));
    for (const std::string& cell :
         {Escaped(one.method()), Escaped(one.other()), Percent(one.share_better()), absl::StrCat(one.draws())}) {
      row.push_back(cell);
    }
    table.Add(std::move(row));
  }
  if (table.empty()) return "";
  return absl::StrCat("<h3>Methods against each other</h3>\n", table.Render());
}

std::string CheckpointsTable(const v1::StudyReport& study) {
  HtmlTable table({{"run"}, {"folder"}});
  for (const v1::RunReport& run : study.runs()) {
    if (run.checkpoint().empty() || run.checkpoint() == kOutputItself) continue;
    table.Add({Path(run.name()), Path(run.checkpoint())});
  }
  if (table.empty()) return "";
  return absl::StrCat("<h3>Checkpoints</h3>\n", table.Render());
}

std::string RunsTable(const v1::StudyReport& study) {
  HtmlTable table({{"run"}, {"mean relative error", true}, {"time", true}, {"blocks' SHA-256"}, {"failed"}});
  for (const v1::RunReport& run : study.runs()) {
    table.Add({Path(run.name()), Fixed(run.relative_error(), 5), FormatSeconds(run.seconds()),
               Path(run.fingerprint().substr(0, kShownDigest)), Escaped(run.error())});
  }
  if (table.empty()) return "";
  return absl::StrCat("<h3>Runs</h3>\n", table.Render());
}

}  // namespace

std::string StudySection(const v1::StudyReport& study) {
  std::string facts;
  for (const v1::RunReport& run : study.runs()) {
    if (run.checkpoint() != kOutputItself) continue;
    absl::StrAppend(&facts, "<p>The checkpoint is that of run ", Path(run.name()), ".</p>\n");
  }
  if (study.has_repeat_equal()) {
    absl::StrAppend(&facts, study.repeat_equal() ? "<p>A run, done twice, gave the same bytes.</p>\n"
                                                 : "<p>A run, done twice, gave other bytes.</p>\n");
  }
  if (study.has_uncalibrated_equal()) {
    absl::StrAppend(&facts, "<p>Methods that take no calibration data gave ",
                    study.uncalibrated_equal() ? "the same" : "other", " bytes for every draw.</p>\n");
  }
  return Section("Study", absl::StrCat(facts, BoxPlots(study), OriginalTable(study), StatisticsTable(study),
                                       ComparisonsTable(study), CheckpointsTable(study), RunsTable(study),
                                       CalibrationTable(study)));
}

}  // namespace calipress::report
