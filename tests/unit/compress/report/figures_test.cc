#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compress/report/chart.h"
#include "compress/report/html.h"
#include "compress/report/linear_grid.h"
#include "compress/report/relative.h"
#include "compress/report/study_values.h"

namespace calipress::report {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Html, EscapesAndReplaces) {
  EXPECT_EQ(Escaped("a<b>&\"'\n\t\xC3\xA9"), "a&lt;b&gt;&amp;&#34;&#39;\n\t\xC3\xA9");
  const std::string replaced = "\xEF\xBF\xBD";
  for (const char* text : {"\x01", "\r", "\x7F", "\xC2\x9B", "\xFF", "\xEF\xBF\xBE"})
    EXPECT_EQ(Escaped(text), replaced);
  EXPECT_EQ(Escaped("\xC0\xAF"), replaced + replaced);
  EXPECT_EQ(Escaped("\xED\xA0\x80"), replaced + replaced + replaced);
  EXPECT_EQ(Escaped("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
}

TEST(Html, Figures) {
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(-1234567),
            "-1\xE2\x80\x89"
            "234\xE2\x80\x89"
            "567");
  EXPECT_EQ(Grouped(999), "999");
  EXPECT_EQ(Change(10, 10.5), "+5.00 %");
  EXPECT_EQ(Change(0, 1), kNone);
  EXPECT_EQ(Fixed(NAN, 2), kNone);
}

TEST(Relative, UnweightedByDomain) {
  v1::Report report;
  const auto task = [&](const char* domain, double before, double after) {
    auto* one = report.add_tasks();
    one->set_domain(domain);
    one->set_accuracy_original(before);
    one->set_accuracy(after);
  };
  task("b", 0.5, 0.25);
  task("a", 0.8, 0.8);
  task("b", 0.4, 0.4);
  task("b", 0.0, 0.1);                     // no ratio
  report.add_tasks()->set_domain("none");  // not compared
  auto* text = report.add_evaluations();
  text->set_domain("a");
  text->set_perplexity_original(10);
  text->set_perplexity(12.5);
  const auto domains = RelativeByDomain(report.evaluations(), report.tasks());
  ASSERT_EQ(domains.size(), 2u);
  EXPECT_EQ(domains[0].domain, "a");
  EXPECT_DOUBLE_EQ(domains[0].perplexity, 0.8);
  EXPECT_EQ(domains[0].texts, 1);
  EXPECT_DOUBLE_EQ(domains[0].accuracy, 1.0);
  EXPECT_DOUBLE_EQ(domains[1].accuracy, 0.75);
  EXPECT_EQ(domains[1].tasks, 2);
  EXPECT_EQ(domains[1].texts, 0);
  EXPECT_TRUE(RelativeByDomain(report.evaluations(), {}).empty());  // a mean of one
}

TEST(LinearGrid, ByBlockAndKind) {
  v1::Report report;
  for (const char* name : {"model.layers.0.mlp.up_proj", "model.layers.11.mlp.up_proj",
                           "model.layers.0.self_attn.o_proj", "lm_head", ".", "a.99999999999.b"}) {
    auto* linear = report.add_linears();
    linear->set_name(name);
    linear->set_bits_per_weight(report.linears_size());
  }
  const auto kinds = LinearKinds(report);
  ASSERT_EQ(kinds.size(), 2u);
  EXPECT_EQ(kinds[0].name, "up_proj");
  EXPECT_EQ(kinds[0].by_block.size(), 2u);
  EXPECT_EQ(kinds[0].by_block.at(11)->bits_per_weight(), 2);
  EXPECT_THAT(MeanByBlock(report, [](const v1::LinearReport& linear) { return linear.bits_per_weight(); }),
              ElementsAre(Pair(0, DoubleEq(2)), Pair(11, DoubleEq(2))));
}

TEST(Axes, AreRoundAndHoldEveryValue) {
  EXPECT_THAT(LinearAxis(0.3, 0.95, true, 4).ticks, ElementsAre(0, DoubleEq(0.5), 1));
  EXPECT_THAT(LogAxis(0.004, 0.3).ticks, ElementsAre(DoubleEq(0.01), DoubleEq(0.1)));
  EXPECT_DOUBLE_EQ(LogAxis(0.004, 0.3).low, 0.002);
  EXPECT_DOUBLE_EQ(LogAxis(0.004, 0.3).high, 0.5);
  EXPECT_THAT(LogAxis(0.3, 0.4).ticks, ElementsAre(DoubleEq(0.05), DoubleEq(0.5)));
  EXPECT_LE(LogAxis(1e-300, 1e300).ticks.size(), 6u);
  for (const auto& [least, most] : {std::pair{5.0, 5.0}, {0.0, 0.0}, {-2.0, 3.0}, {1e-9, 1e9}, {14.0, 14.4}}) {
    const Axis axis = LinearAxis(least, most, false, 5);
    EXPECT_LE(axis.low, least + 1e-12);
    EXPECT_GE(axis.high, most - 1e-12);
    EXPECT_LT(axis.low, axis.high);
    EXPECT_GE(axis.ticks.size(), 2u);
    EXPECT_LE(axis.ticks.size(), 9u);
  }
  EXPECT_DOUBLE_EQ(LogAxis(0.01, 1).Place(0.1), 0.5);
}

TEST(StudyValues, ARunForEachCalibrationSet) {
  v1::StudyReport study;
  for (const auto& [source, draw, calibrated] :
       {std::tuple{"a", 0, false}, {"a", 0, true}, {"a", 0, true}, {"a", 1, true}, {"b", 0, true}}) {
    v1::RunReport* run = study.add_runs();
    run->set_source(source);
    run->set_draw(draw);
    if (calibrated) run->mutable_calibration()->set_tokens(1);
  }
  EXPECT_THAT(RunsOfSets(study), ElementsAre(&study.runs(1), &study.runs(3), &study.runs(4)));
}

TEST(StudyValues, GroupsOfAMethodStandTogether) {
  v1::StudyReport study;
  for (const auto& [source, method] : {std::pair{"a", "x"}, {"a", "y"}, {"b", "y"}, {"b", "z"}, {"b", "x"}}) {
    auto* statistic = study.add_statistics();
    auto* run = study.add_runs();
    statistic->set_metric("perplexity t");
    statistic->set_method(method);
    statistic->set_source(source);
    run->set_method(method);
    run->set_source(source);
    auto* text = run->add_evaluations();
    text->set_name("t");
    text->set_perplexity(2);
  }
  std::vector<std::string> found;
  for (const StudyGroup& group : StudyGroups(study, "perplexity t")) found.push_back(group.method + group.label);
  EXPECT_THAT(found, ElementsAre("xa", "xb", "ya", "yb", "zb"));
}

TEST(StudyValues, DrawsOfAMetricAndQuartiles) {
  v1::StudyReport study;
  auto* statistic = study.add_statistics();
  statistic->set_metric("accuracy a b");
  statistic->set_method("m");
  statistic->set_source("s");
  statistic->set_domain_weight(0.5);
  for (const double value : {0.4, 0.1, 0.3, 0.2}) {
    auto* run = study.add_runs();
    run->set_method("m");
    run->set_source("s");
    run->set_domain_weight(0.5);
    auto* task = run->add_tasks();
    task->set_name("a b");
    task->set_accuracy(value);
  }
  study.mutable_runs(1)->set_error("failed");
  *study.add_runs() = study.runs(0);
  study.mutable_runs(4)->set_domain_weight(0.25);
  const auto groups = StudyGroups(study, PlottedMetrics(study).at(0));
  for (const char* metric : {"KL a", "perplexity b", "perplexity b"}) study.add_statistics()->set_metric(metric);
  EXPECT_THAT(PlottedMetrics(study), ElementsAre("accuracy a b", "perplexity b"));
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].method, "m");
  EXPECT_EQ(groups[0].label, "s, weight 0.5");
  EXPECT_THAT(groups[0].values, ElementsAre(0.2, 0.3, 0.4));
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 4}, 0.5), 2);
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 4}, 0.75), 3);
  EXPECT_DOUBLE_EQ(Quantile({7}, 0.25), 7);
  EXPECT_TRUE(StudyGroups(study, "perplexity a b").empty());
}

}  // namespace
}  // namespace calipress::report
