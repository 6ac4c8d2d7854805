#include "compress/study/summary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compress/study/best_run.h"
#include "compress/study/metrics.h"
#include "compress/study/tables.h"

namespace calipress::study {
namespace {

v1::RunReport RunOf(const std::string& method, const std::string& source, int draw, double perplexity,
                    double accuracy = 0.5) {
  v1::RunReport run;
  run.set_name(method + "/" + source + "/" + std::to_string(draw));
  run.set_method(method);
  run.set_source(source);
  run.set_draw(draw);
  auto* text = run.add_evaluations();
  text->set_name("stories");
  text->set_perplexity(perplexity);
  auto* task = run.add_tasks();
  task->set_name("questions");
  task->set_accuracy(accuracy);
  run.set_fingerprint("of " + run.name());
  return run;
}

const v1::StudyStatistic* Find(const v1::StudyReport& report, const std::string& method, const std::string& metric) {
  for (const auto& one : report.statistics()) {
    if (one.method() == method && one.metric() == metric) return &one;
  }
  return nullptr;
}

v1::StudyReport Three() {
  v1::StudyReport report;
  const double gptq[] = {10.0, 12.0, 14.0}, wanda[] = {11.0, 11.0, 14.0};
  for (int draw = 0; draw < 3; ++draw) {
    *report.add_runs() = RunOf("gptq", "web", draw, gptq[draw], 0.25 * draw);
    *report.add_runs() = RunOf("wanda", "web", draw, wanda[draw], 0.5);
  }
  return report;
}

TEST(Summary, MeanDeviationAndRangeOverDraws) {
  v1::StudyReport report = Three();
  Summarize(&report);
  const v1::StudyStatistic* gptq = Find(report, "gptq", "perplexity stories");
  ASSERT_NE(gptq, nullptr);
  EXPECT_EQ(gptq->draws(), 3);
  EXPECT_DOUBLE_EQ(gptq->mean(), 12.0);
  EXPECT_DOUBLE_EQ(gptq->standard_deviation(), 2.0);  // sqrt((4 + 0 + 4) / 2)
  EXPECT_DOUBLE_EQ(gptq->min(), 10.0);
  EXPECT_DOUBLE_EQ(gptq->max(), 14.0);
  EXPECT_DOUBLE_EQ(gptq->range(), 4.0);
}

// Each method has its own measure of a linear's error: no method is better by it.
TEST(Summary, RelativeErrorsAreNotCompared) {
  v1::StudyReport report = Three();
  Summarize(&report);
  EXPECT_NE(Find(report, "gptq", "relative error"), nullptr);
  for (const auto& one : report.comparisons()) EXPECT_NE(one.metric(), "relative error");
}

TEST(Summary, MethodsWithoutCalibrationGiveTheSameBytes) {
  for (const bool same : {true, false}) {
    v1::StudyReport report = Three();
    for (v1::RunReport& run : *report.mutable_runs()) run.mutable_calibration()->set_tokens(8);
    Summarize(&report);
    EXPECT_FALSE(report.has_uncalibrated_equal());
    for (const char* source : {"web", "books"}) {
      v1::RunReport run = RunOf("rtn", source, 0, 3.0);
      run.set_fingerprint(same ? "one" : source);
      *report.add_runs() = run;
    }
    Summarize(&report);
    EXPECT_TRUE(report.has_uncalibrated_equal());
    EXPECT_EQ(report.uncalibrated_equal(), same);
  }
}

TEST(Summary, EqualDrawsHaveNoSpread) {
  v1::StudyReport report;
  for (int draw = 0; draw < 3; ++draw) *report.add_runs() = RunOf("rtn", "web", draw, 0.1);
  Summarize(&report);
  EXPECT_EQ(Find(report, "rtn", "perplexity stories")->standard_deviation(), 0.0);
  EXPECT_EQ(Find(report, "rtn", "perplexity stories")->mean(), 0.1);
}

TEST(Summary, OneDrawHasNoDeviation) {
  v1::StudyReport report;
  *report.add_runs() = RunOf("rtn", "web", 0, 3.0);
  Summarize(&report);
  EXPECT_EQ(Find(report, "rtn", "perplexity stories")->standard_deviation(), 0.0);
}

// Draw 0: gptq is better; draw 1: wanda; draw 2: even. Of accuracies more is better.
TEST(Summary, ShareOfDrawsInWhichOneIsBetter) {
  v1::StudyReport report = Three();
  Summarize(&report);
  bool perplexity = false, accuracy = false;
  for (const auto& one : report.comparisons()) {
    if (one.metric() == "perplexity stories") {
      EXPECT_EQ(one.method(), "gptq");
      EXPECT_EQ(one.other(), "wanda");
      EXPECT_EQ(one.draws(), 3);
      EXPECT_DOUBLE_EQ(one.share_better(), 0.5);
      perplexity = true;
    }
    if (one.metric() == "accuracy questions") {
      EXPECT_DOUBLE_EQ(one.share_better(), 0.5 / 3);  // 0 and 0.25 lose, 0.5 is even
      accuracy = true;
    }
  }
  EXPECT_TRUE(perplexity && accuracy);
}

TEST(Summary, FailedRunsAreLeftOut) {
  v1::StudyReport report = Three();
  report.mutable_runs(0)->set_error("no numbers");
  Summarize(&report);
  EXPECT_EQ(Find(report, "gptq", "perplexity stories")->draws(), 2);
  EXPECT_DOUBLE_EQ(Find(report, "gptq", "perplexity stories")->mean(), 13.0);
}

TEST(Summary, WeightsAreCellsOfTheirOwn) {
  v1::StudyReport report;
  for (const double weight : {0.0, 0.5}) {
    v1::RunReport run = RunOf("gptq", "web", 0, 10.0 + weight);
    run.set_domain_weight(weight);
    *report.add_runs() = run;
  }
  Summarize(&report);
  int cells = 0;
  for (const auto& one : report.statistics()) cells += one.metric() == "perplexity stories" && one.has_domain_weight();
  EXPECT_EQ(cells, 2);
}

TEST(Summary, TheRepeatedRunIsComparedAndNotCounted) {
  for (const bool same : {true, false}) {
    v1::StudyReport report = Three();
    v1::RunReport again = report.runs(0);
    again.set_name(again.name() + "/repeat");
    again.mutable_evaluations(0)->set_perplexity(1.0);
    if (!same) again.set_fingerprint("other");
    *report.add_runs() = again;
    Summarize(&report);
    EXPECT_TRUE(report.has_repeat_equal());
    EXPECT_EQ(report.repeat_equal(), same);
    EXPECT_EQ(Find(report, "gptq", "perplexity stories")->draws(), 3);
    EXPECT_EQ(BestRun({report.runs().begin(), report.runs().end()}), "gptq/web/0");
  }
}

TEST(BestRun, IsTheFirstOfTheLeast) {
  v1::StudyReport report = Three();
  report.mutable_runs(0)->set_error("no numbers");
  EXPECT_EQ(BestRun({report.runs().begin(), report.runs().end()}), "wanda/web/0");
  EXPECT_EQ(BestRun({}), "");
}

TEST(BestRun, OfEachMethodInTheirOrder) {
  const v1::StudyReport report = Three();
  std::vector<v1::RunReport> runs(report.runs().begin(), report.runs().end());
  EXPECT_EQ(BestOfEachMethod(runs), (std::vector<std::string>{"gptq/web/0", "wanda/web/0"}));
  for (v1::RunReport& run : runs) {
    if (run.method() == "gptq") run.set_error("no numbers");
  }
  EXPECT_EQ(BestOfEachMethod(runs), (std::vector<std::string>{"wanda/web/0"}));
  EXPECT_TRUE(BestOfEachMethod({}).empty());
}

TEST(Tables, SayWhereCheckpointsLie) {
  v1::StudyReport report = Three();
  report.add_kept(report.runs(0).name());
  report.mutable_runs(0)->set_checkpoint(".");
  EXPECT_NE(Markdown(report).find("The checkpoint is that of gptq/web/0.\n"), std::string::npos) << Markdown(report);
  report.add_kept(report.runs(1).name());
  report.mutable_runs(0)->set_checkpoint("runs/gptq-web-0");
  report.mutable_runs(1)->set_checkpoint("runs/two");
  const std::string markdown = Markdown(report);
  EXPECT_NE(markdown.find("| " + report.runs(1).name() + " | runs/two |"), std::string::npos) << markdown;
  EXPECT_EQ(markdown.find("The checkpoint is"), std::string::npos) << markdown;
}

TEST(Tables, QuoteWhatUsersName) {
  v1::StudyReport report;
  v1::RunReport run = RunOf("a", "web", 0, 3.0);
  run.mutable_evaluations(0)->set_name("one, \"two\" | <three>");
  *report.add_runs() = run;
  v1::RunReport failed = RunOf("b", "web", 0, 0.0);
  failed.set_error("line one\nline two");
  *report.add_runs() = failed;
  Summarize(&report);
  EXPECT_NE(RunsCsv(report).find("\"perplexity one, \"\"two\"\" | <three>\",3,"), std::string::npos) << RunsCsv(report);
  EXPECT_NE(RunsCsv(report).find("b/web/0,b,web,0,,,,\"line one\nline two\"\r\n"), std::string::npos);
  EXPECT_NE(StatisticsCsv(report).find("a,web,,relative error,1,0,0,0,0,0\r\n"), std::string::npos);
  const v1::StudyReport three = [] {
    v1::StudyReport whole = Three();
    Summarize(&whole);
    return whole;
  }();
  EXPECT_NE(ComparisonsCsv(three).find("gptq,wanda,web,,perplexity stories,3,0.5\r\n"), std::string::npos)
      << ComparisonsCsv(three);
  const std::string markdown = Markdown(report);
  EXPECT_NE(markdown.find("perplexity one, \"two\" \\| &lt;three>"), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("b/web/0 failed: line one line two"), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("1 of 2 runs ended well"), std::string::npos) << markdown;
}

}  // namespace
}  // namespace calipress::study
