#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/output/error_text.h"
#include "client/cli/output/evaluation_tables.h"
#include "client/cli/output/json.h"
#include "client/cli/output/progress.h"
#include "client/cli/output/summary.h"
#include "client/cli/output/table.h"
#include "client/cli/output/text.h"
#include "compress/base/error.h"
#include "compress/base/units.h"
#include "google/rpc/error_details.pb.h"
#include "nlohmann/json.hpp"

namespace calipress::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(UnitsTest, Bytes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1000), "1.00 kB");
  EXPECT_EQ(FormatBytes(11547040), "11.5 MB");
  EXPECT_EQ(FormatBytes(999'960'000), "1.00 GB");
  EXPECT_EQ(FormatBytes(std::numeric_limits<int64_t>::max()), "9223.4 PB");
}

TEST(UnitsTest, Seconds) {
  EXPECT_EQ(FormatSeconds(0.4), "0.40 s");
  EXPECT_EQ(FormatSeconds(9.999), "10.0 s");
  EXPECT_EQ(FormatSeconds(59.99), "1 min 0 s");
  EXPECT_EQ(FormatSeconds(75.2), "1 min 15 s");
  EXPECT_EQ(FormatSeconds(7500), "2 h 5 min");
}

TEST(UnitsTest, Perplexity) {
  EXPECT_EQ(FormatPerplexity(13.428), "13.4280");
  EXPECT_EQ(FormatPerplexity(1234.567), "1234.57");
  EXPECT_EQ(FormatPerplexity(std::numeric_limits<double>::infinity()), "-");
}

TEST(TextTest, ControlsBecomeSpaces) { EXPECT_EQ(OneLine("a\nb\x1b[2Jc\x7f\xc2\x9b\xc3\xa9"), "a b [2Jc   \xc3\xa9"); }

TEST(TextTest, CutsAtCodePoints) {
  EXPECT_EQ(FitColumns("äöüß", 4), "äöüß");
  EXPECT_EQ(FitColumns("äöüßäöüß", 6), "äöü...");
  EXPECT_EQ(FitColumns("abcdef", 2), "..");
}

TEST(TableTest, AlignsByColumnsAndEndsLinesCleanly) {
  Table table({{"name"}, {"size", Table::Align::kRight}, {"note"}});
  table.Add({"ä", "1", "x\ty"});
  table.Add({"longer", "12345", ""});
  EXPECT_EQ(table.Render(),
            "name     size  note\n"
            "ä           1  x y\n"
            "longer  12345\n");
}

v1::JobEvent Event(int sequence, int done, double fraction, const std::string& message = "") {
  v1::JobEvent event;
  event.set_sequence(sequence);
  event.set_state(v1::CompressionJob::RUNNING);
  event.set_attempt(1);
  event.mutable_time()->set_seconds(1000 + sequence);
  event.mutable_progress()->set_phase("compress");
  event.mutable_progress()->set_blocks_done(done);
  event.mutable_progress()->set_blocks_total(6);
  event.mutable_progress()->set_fraction(fraction);
  event.mutable_progress()->set_message("block " + std::to_string(done) + ": up_proj");
  event.set_message(message);
  return event;
}

TEST(ProgressTest, PlainHasALinePerBlockAndPerMessage) {
  std::ostringstream out;
  const auto view = PlainProgress(out);
  view->OnEvent(Event(1, 2, 0.30));
  view->OnEvent(Event(2, 2, 0.33));  // the same block
  view->OnEvent(Event(3, 3, 0.45));
  view->OnEvent(Event(14, 3, 0.45, "attempt 2: worker w-1 was lost\x1b[1m"));
  view->Finish();
  EXPECT_EQ(out.str(),
            "   0.00 s   30 %  running    compress 2/6  block 2: up_proj\n"
            "   2.00 s   45 %  running    compress 3/6  block 3: up_proj\n"
            "   13.0 s   45 %  running    compress 3/6  attempt 2: worker w-1 was lost [1m\n");
}

TEST(ProgressTest, BarIsDrawnOnOneLineThatFits) {
  std::ostringstream out;
  const auto view = BarProgress(out, 80);
  view->OnEvent(Event(1, 0, 0.0));
  view->OnEvent(Event(11, 3, 0.5));
  view->OnEvent(Event(12, 3, 0.5, "a worker was lost"));
  view->Finish();
  const std::string text = out.str();
  EXPECT_THAT(text, HasSubstr("[############............]  50 %  compress 3/6  10.0 s, about 10.0 s left"));
  EXPECT_THAT(text, HasSubstr("\x1b[Ka worker was lost\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  std::istringstream drawn(text);
  for (std::string part; std::getline(drawn, part, '\r');) EXPECT_LE(Columns(part), 79 + 3 + 1) << part;
}

TEST(ProgressTest, OddFractionsDoNotBreakTheBar) {
  std::ostringstream out;
  const auto view = BarProgress(out, 5);
  for (const double fraction : {-1.0, 2.0, std::nan("")}) view->OnEvent(Event(1, 0, fraction));
  EXPECT_THAT(out.str(), HasSubstr("[####"));
}

v1::Report WholeReport() {
  v1::Report report;
  report.set_source_bytes(11'500'000);
  report.set_output_bytes(4'600'000);
  report.set_total_seconds(12.5);
  report.set_peak_memory_bytes(812'000'000);
  auto* text = report.add_evaluations();
  text->set_name("stories");
  text->set_windows(195);
  text->set_sequence_length(256);
  text->set_tokens(49725);
  text->set_perplexity_original(13.428);
  text->set_perplexity(13.703);
  text->set_kl_divergence(0.01234);
  text->set_js_divergence(0.00321);
  text->set_top1_agreement(0.9123);
  auto* phase = report.add_phases();
  phase->set_name("compress");
  phase->set_seconds(8.25);
  phase->set_peak_memory_bytes(700'000'000);
  (*phase->mutable_activities())["solve"] = 5;
  (*phase->mutable_activities())["forward"] = 2.5;
  report.add_warnings("model.layers.0.mlp.up_proj: 3 dead columns");
  return report;
}

TEST(SummaryTest, HasEveryFigure) {
  const std::string text = ReportText(WholeReport());
  for (const char* part : {"11.5 MB -> 4.60 MB (2.50 times smaller)", "stories", "195 x 256   49725", "13.4280",
                           "13.7030", "+2.05 %", "0.01234", "0.00321", "91.2 %", "compress", "8.25 s", "700.0 MB",
                           "solve 5.00 s, forward 2.50 s", "12.5 s", "812.0 MB", "1 warning", "3 dead columns"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(SummaryTest, LayerRatiosShowTheirEnds) {
  v1::Report report;
  for (int block = 0; block < 3; ++block) {
    v1::LayerRatio* ratio = report.add_layer_ratios();
    ratio->set_block(block);
    ratio->set_sparsity(0.75 - 0.125 * block);
    ratio->set_pattern(absl::StrCat(6 - block, ":8"));
  }
  EXPECT_THAT(ReportText(report), HasSubstr("sparsity  50.0 % (block 2, 4:8) to 75.0 % (block 0, 6:8)\n"));
  for (auto& ratio : *report.mutable_layer_ratios()) ratio.clear_pattern();
  EXPECT_THAT(ReportText(report), HasSubstr("sparsity  50.0 % (block 2) to 75.0 % (block 0)\n"));
}

TEST(SummaryTest, CalibrationIsOneLine) {
  v1::Report report;
  v1::CalibrationReport* calibration = report.mutable_calibration();
  calibration->set_sequences(6);
  calibration->set_sequence_length(64);
  calibration->set_tokens(384);
  EXPECT_THAT(ReportText(report), HasSubstr("calibrated on 6 sequences of 64 tokens\n"));
  for (const char* kind : {"text", "random_vocabulary"}) {
    v1::CalibrationPart* part = calibration->add_parts();
    part->set_kind(kind);
    part->set_sequences(3);
  }
  calibration->set_repetition(0.641);
  calibration->set_vocabulary_coverage(0.18);
  calibration->set_ngram_diversity(0.62);
  calibration->set_zipf_exponent(1.16);
  calibration->set_perplexity(8.65);
  calibration->set_scored_tokens(32);
  calibration->set_ids_file("calibration_ids.npy");
  EXPECT_THAT(
      ReportText(report),
      HasSubstr("calibrated on 6 sequences of 64 tokens (text 3, random_vocabulary 3): repetition 0.64, coverage "
                "0.18, diversity 0.62, Zipf 1.16, perplexity 8.6500 (on 32 tokens); ids in calibration_ids.npy\n"));
}

TEST(SummaryTest, PlainEvaluationHasNoEmptyColumns) {
  v1::Report report;
  auto* text = report.add_evaluations();
  text->set_name("t");
  text->set_windows(2);
  text->set_sequence_length(6);
  text->set_tokens(10);
  text->set_perplexity(5);
  EXPECT_EQ(EvaluationText(report), "text  windows  tokens  perplexity\nt       2 x 6      10      5.0000\n");
  EXPECT_THAT(ReportText(report), Not(HasSubstr("size")));
}

TEST(SummaryTest, TasksAndDomainsBeforeAndAfter) {
  v1::Report report = WholeReport();
  report.mutable_evaluations(0)->set_domain("fiction");
  auto* choices = report.add_tasks();
  choices->set_name("copa");
  choices->set_domain("reasoning");
  choices->set_examples(100);
  choices->set_accuracy_original(0.62);
  choices->set_accuracy(0.589);
  choices->set_accuracy_normalized_original(0.56);
  choices->set_accuracy_normalized(0.55);
  auto* words = report.add_tasks();
  words->set_name("lambada");
  words->set_domain("reasoning");
  words->set_examples(50);
  words->set_accuracy_original(0.4);
  words->set_accuracy(0.36);
  words->set_perplexity_original(30.5);
  words->set_perplexity(41.25);
  EXPECT_EQ(TasksText(report),
            "task     examples  accuracy before   after  per byte before   after  perplexity before    after\n"
            "copa          100           62.0 %  58.9 %           56.0 %  55.0 %                  -        -\n"
            "lambada        50           40.0 %  36.0 %                -       -            30.5000  41.2500\n");
  EXPECT_EQ(DomainsText(report),
            "domain     relative accuracy  tasks  relative perplexity  texts\n"
            "fiction                    -      0               0.9799      1\n"
            "reasoning             0.9250      2                    -      0\n");
  EXPECT_THAT(ReportText(report), AllOf(HasSubstr(TasksText(report)), HasSubstr(DomainsText(report))));
  EXPECT_EQ(DomainsText(WholeReport()), "");
}

TEST(SummaryTest, TasksOfOneModelHaveNoBefore) {
  v1::Report report;
  auto* task = report.add_tasks();
  task->set_name("q");
  task->set_examples(8);
  task->set_accuracy(0.5);
  EXPECT_EQ(TasksText(report), "task  examples  accuracy\nq            8    50.0 %\n");
}

TEST(SummaryTest, TheFullReportHasCalibrationErrorsAndAStudy) {
  v1::Report report = WholeReport();
  for (int i = 0; i < 12; ++i) {
    auto* linear = report.add_linears();
    linear->set_name(absl::StrCat("model.layers.", i, ".mlp.up_proj"));
    linear->set_method("gptq");
    linear->set_relative_error(0.001 * (i + 1));
    linear->set_bits_per_weight(4.125);
    linear->set_sparsity(0.01 * i);
  }
  auto* second = report.add_linears();
  second->set_name("model.layers.7.mlp.down_proj");
  second->set_relative_error(0.0001);
  second->set_bits_per_weight(8.125);
  second->set_sparsity(0.17);
  auto* calibration = report.mutable_calibration();
  calibration->set_sequences(8);
  calibration->set_tokens(512);
  calibration->set_perplexity(44.5);
  calibration->set_scored_tokens(256);
  calibration->set_fingerprint("0123abcd");
  auto* part = calibration->add_parts();
  part->set_kind("self_generated");
  part->set_domain("stories");
  part->set_seed(4711);
  auto* statistic = report.mutable_study()->add_statistics();
  statistic->set_metric("perplexity stories");
  statistic->set_method("gptq");
  statistic->set_mean(14.25);
  auto* run = report.mutable_study()->add_runs();
  run->set_name("gptq/novels/0");
  run->set_error("too little\ntext");
  for (const char* name : {"gptq/novels/1", "wanda/novels/1"}) {
    auto* kept = report.mutable_study()->add_runs();
    kept->set_name(name);
    kept->set_checkpoint(std::string("runs/") + name[0]);
  }
  auto* comparison = report.mutable_study()->add_comparisons();
  comparison->set_other("wanda");
  comparison->set_share_better(0.8);
  report.mutable_study()->set_repeat_equal(true);
  const std::string text = FullReportText(report);
  for (const char* part :
       {"layers.11.mlp.up_proj", "0.01200", "4.125", "44.5000 on 256 of 512 tokens", "4711",
        "block  mean relative error   zeros   bits\n    0              0.00100   0.0 %  4.125\n",
        "    7              0.00405  12.0 %  6.125\n", "0123abcd", "self_generated", "perplexity stories", "14.2500",
        "gptq/novels/0", "too little text", "wanda", "80.0 %", "gave the same bytes",
        "kept      gptq/novels/1 (runs/g)\n", "kept      wanda/novels/1 (runs/w)\n"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("layers.1.mlp")));  // the ten worst
  EXPECT_THAT(ReportText(report), Not(HasSubstr("self_generated")));
}

TEST(SummaryTest, FailedJobShowsItsErrorAndHidesCredentials) {
  v1::CompressionJob job;
  job.set_name("compressionJobs/a");
  job.set_state(v1::CompressionJob::FAILED);
  job.set_model("s3://key:secret@bucket/model");
  job.mutable_error()->set_code(9);
  job.mutable_error()->set_message("tensor x is not finite");
  google::rpc::ErrorInfo info;
  info.set_reason("NON_FINITE_WEIGHTS");
  job.mutable_error()->add_details()->PackFrom(info);
  const std::string text = JobText(job);
  EXPECT_THAT(text, HasSubstr("error: tensor x is not finite\n  reason: NON_FINITE_WEIGHTS\n  do: "));
  EXPECT_THAT(text, Not(HasSubstr("secret")));
}

TEST(ErrorTextTest, ListsEveryViolation) {
  const std::string text = ErrorText(ViolationsError(
      reason::kInvalidRecipe, {{"recipe.steps[0].gptq.bits", "must be 4"}, {"recipe.output", "is bad"}}));
  EXPECT_THAT(text, HasSubstr("2 fields are wrong\n  recipe.steps[0].gptq.bits: must be 4\n  recipe.output: is bad\n"));
  EXPECT_THAT(text, HasSubstr("reason: INVALID_RECIPE\n  do: "));
}

TEST(ErrorTextTest, AnAbsentServerIsNoDefectOfOurs) {
  const std::string text = ErrorText(absl::UnavailableError("cannot reach a calipress server at a:1"));
  EXPECT_THAT(text, HasSubstr("a:1"));
  EXPECT_THAT(text, HasSubstr("--server"));
  EXPECT_THAT(text, Not(HasSubstr("INTERNAL")));
}

TEST(ExitCodeTest, Statuses) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(UserError(reason::kInvalidRecipe, "")), 2);
  EXPECT_EQ(ExitCodeOf(PreconditionError(reason::kOutputExists, "")), 2);
  EXPECT_EQ(
      ExitCodeOf(MakeError(absl::StatusCode::kResourceExhausted, reason::kQueueFull, ErrorClass::kEnvironment, "")), 2);
  EXPECT_EQ(ExitCodeOf(EnvironmentError(reason::kStorageUnavailable, "")), 2);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), 3);
  EXPECT_EQ(ExitCodeOf(EnvironmentError(reason::kDraining, "")), 3);
  EXPECT_EQ(ExitCodeOf(DefectError("")), 1);
}

TEST(ExitCodeTest, States) {
  EXPECT_EQ(ExitCodeOf(v1::CompressionJob::SUCCEEDED), 0);
  EXPECT_EQ(ExitCodeOf(v1::CompressionJob::FAILED), 1);
  EXPECT_EQ(ExitCodeOf(v1::CompressionJob::CANCELLED), 1);
}

TEST(JsonTest, JobsAreOneLineInTheApisNames) {
  v1::CompressionJob job;
  job.set_name("compressionJobs/a");
  job.set_display_name("two\nlines");
  const std::string line = JobJsonLine(job);
  EXPECT_THAT(line, Not(HasSubstr("\n")));
  const auto parsed = nlohmann::json::parse(line);
  EXPECT_EQ(parsed.at("name"), "compressionJobs/a");
  EXPECT_EQ(parsed.at("progress").at("blocks_done"), 0);
  EXPECT_EQ(parsed.at("attempts_lost"), 0);
}

TEST(JsonTest, UnknownErrorDetailsDoNotHideTheJob) {
  v1::CompressionJob job;
  job.set_name("compressionJobs/a");
  job.mutable_error()->set_message("broken");
  job.mutable_error()->add_details()->set_type_url("type.googleapis.com/calipress.v9.Unheard");
  const auto parsed = nlohmann::json::parse(JobJsonLine(job));
  EXPECT_EQ(parsed.at("name"), "compressionJobs/a");
  EXPECT_EQ(parsed.at("error").at("message"), "broken");
}

}  // namespace
}  // namespace calipress::cli
