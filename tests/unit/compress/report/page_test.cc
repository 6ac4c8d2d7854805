#include "compress/report/page.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "testing_markup.h"

namespace calipress::report {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::CompressionJob Job() {
  v1::CompressionJob job;
  job.set_name("compressionJobs/quick");
  job.set_model("/models/mix-llama-5.8m/");
  job.set_output("s3://bucket/out");
  job.mutable_create_time()->set_seconds(1'700'000'000);
  job.mutable_recipe()->add_steps()->mutable_gptq()->set_bits(4);
  job.mutable_placement()->set_workers(2);
  return job;
}

v1::Report WholeReport() {
  v1::Report report;
  report.set_source_bytes(11'540'000);
  report.set_output_bytes(4'560'000);
  report.set_total_seconds(75);
  report.set_peak_memory_bytes(812'000'000);
  auto* text = report.add_evaluations();
  text->set_name("stories");
  text->set_domain("fiction");
  text->set_sequence_length(256);
  text->set_windows(195);
  text->set_tokens(49'725);
  text->set_perplexity_original(13.1657);
  text->set_perplexity(13.5432);
  text->set_kl_divergence(0.0271);
  text->set_js_divergence(0.0066);
  text->set_top1_agreement(0.913);
  auto* task = report.add_tasks();
  task->set_name("copa");
  task->set_kind("multiple_choice");
  task->set_domain("reasoning");
  task->set_examples(100);
  task->set_accuracy_original(0.62);
  task->set_accuracy(0.589);
  task->set_accuracy_normalized_original(0.56);
  task->set_accuracy_normalized(0.55);
  for (int block = 0; block < 6; ++block) {
    for (const char* kind : {"self_attn.q_proj", "mlp.down_proj"}) {
      auto* linear = report.add_linears();
      linear->set_name(absl::StrCat("model.layers.", block, ".", kind));
      linear->set_method("gptq");
      linear->set_relative_error(0.003 * (block + 1));
      linear->set_damping(0.01);
      linear->set_bits_per_weight(block == 2 ? 8.25 : 4.125);
    }
  }
  auto* calibration = report.mutable_calibration();
  calibration->set_sequences(128);
  calibration->set_sequence_length(256);
  calibration->set_tokens(32768);
  calibration->set_fingerprint("0123abcd");
  calibration->set_perplexity(44.5);
  calibration->set_scored_tokens(4096);
  auto* part = calibration->add_parts();
  part->set_kind("text");
  part->set_uri("s3://key:secret@bucket/train.jsonl");
  part->set_domain("novels");
  part->set_sequences(128);
  auto* phase = report.add_phases();
  phase->set_name("compress");
  phase->set_seconds(60);
  phase->set_peak_memory_bytes(700'000'000);
  (*phase->mutable_activities())["solve"] = 41;
  (*phase->mutable_activities())["forward"] = 12.5;
  report.add_warnings("model.layers.0.mlp.up_proj: 3 dead columns");
  return report;
}

v1::StudyReport Study() {
  v1::StudyReport study;
  for (const char* method : {"gptq", "wanda"}) {
    auto* statistic = study.add_statistics();
    statistic->set_metric("perplexity stories");
    statistic->set_method(method);
    statistic->set_source("novels");
    statistic->set_draws(5);
    statistic->set_mean(14.25);
    statistic->set_standard_deviation(0.125);
    statistic->set_min(14);
    statistic->set_max(14.5);
    for (int draw = 0; draw < 5; ++draw) {
      auto* run = study.add_runs();
      run->set_name(absl::StrCat(method, "/novels/", draw));
      run->set_method(method);
      run->set_source("novels");
      run->set_draw(draw);
      run->set_fingerprint("abcdef0123456789abcdef");
      auto* text = run->add_evaluations();
      text->set_name("stories");
      text->set_perplexity(14 + 0.1 * draw);
    }
  }
  auto* failed = study.add_runs();
  failed->set_name("wanda/stories/0");
  failed->set_error("too little text");
  auto* comparison = study.add_comparisons();
  comparison->set_method("gptq");
  comparison->set_other("wanda");
  comparison->set_source("novels");
  comparison->set_metric("perplexity stories");
  comparison->set_draws(5);
  comparison->set_share_better(0.8);
  study.set_repeat_equal(true);
  study.add_kept("gptq/novels/2");
  study.mutable_runs(2)->set_checkpoint(".");
  return study;
}

void ExpectStandsAlone(const std::string& page) {
  EXPECT_EQ(testing::MarkupProblem(page), "");
  for (const char* never :
       {"<script", "<link", "<img", "<iframe", "<object", "src=", "href=", "url(", "@import", "onload"}) {
    EXPECT_THAT(page, Not(HasSubstr(never)));
  }
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST(ReportPage, ShowsWhatTheReportHas) {
  const std::string page = ReportPage(Job(), WholeReport());
  ExpectStandsAlone(page);
  for (const char* word : {"<h1>mix-llama-5.8m</h1>",
                           "compressed with gptq",
                           "11.5 MB \xE2\x86\x92 4.56 MB",
                           "2.53 times smaller",
                           "13.17 \xE2\x86\x92 13.54",
                           "+2.87 %",
                           "1 min 15 s",
                           "812.0 MB",
                           "49\xE2\x80\x89"
                           "725",
                           "62.0 \xC2\xB1 4.9 %",
                           "58.9 \xC2\xB1 4.9 %",
                           "0.9500",
                           "0.9721",
                           "fiction",
                           "reasoning",
                           "q_proj</figcaption>",
                           "block 5: 0.01800",
                           "block 2: 8.250",
                           "128 sequences of 256",
                           "under the original model, on 4\xE2\x80\x89"
                           "096 of the tokens",
                           "where no statistics were taken",
                           "solve 41.0 s, forward 12.5 s",
                           "3 dead columns",
                           "bits: 4",
                           "2023-11-14 22:13:20 UTC",
                           "calipress 0."}) {
    EXPECT_THAT(page, HasSubstr(word));
  }
  EXPECT_THAT(page, Not(HasSubstr("secret")));
}

TEST(ReportPage, AReportOfNothingIsAPage) {
  const std::string page = ReportPage({}, {});
  ExpectStandsAlone(page);
  for (const char* title : {"<h2>Quality", "<h2>Linears", "<h2>Study", "<h2>Warnings", "<svg", "tiles\">"}) {
    EXPECT_THAT(page, Not(HasSubstr(title)));
  }
}

TEST(ReportPage, OneModelAloneHasNoBefore) {
  v1::Report report;
  report.add_evaluations()->set_perplexity(12.5);
  auto* task = report.add_tasks();
  task->set_kind("last_word");
  task->set_examples(10);
  task->set_accuracy(0.5);
  task->set_perplexity(30.25);
  const std::string page = ReportPage({}, report);
  ExpectStandsAlone(page);
  EXPECT_THAT(page, AllOf(HasSubstr("12.5000"), HasSubstr("30.25"), HasSubstr("evaluated"), Not(HasSubstr("before")),
                          Not(HasSubstr("By domain"))));
}

TEST(ReportPage, AStudyHasTablesAndBoxes) {
  v1::Report report;
  *report.mutable_study() = Study();
  v1::CompressionJob job = Job();
  job.mutable_recipe()->mutable_study();
  const std::string page = ReportPage(job, report);
  ExpectStandsAlone(page);
  for (const char* word :
       {"a study of calibration data", "gptq/novels/2", "the same bytes", ">gptq</text>", ">wanda</text>",
        ">novels</text>", "14.2500", "0.1250", "80.0 %", "too little text", "abcdef012345<", "class=\"box\""}) {
    EXPECT_THAT(page, HasSubstr(word));
  }
  size_t draws = 0;
  for (size_t at = page.find("class=\"draw\""); at != std::string::npos; at = page.find("class=\"draw\"", at + 1))
    ++draws;
  EXPECT_EQ(draws, 10u);
  EXPECT_THAT(page, HasSubstr("The checkpoint is that of run <span class=\"path\">gptq/novels/2<"));
}

TEST(ReportPage, AStudySaysWhereItsCheckpointsLie) {
  v1::Report report;
  *report.mutable_study() = Study();
  report.mutable_study()->add_kept("wanda/novels/1");
  report.mutable_study()->mutable_runs(2)->set_checkpoint("runs/gptq-novels-2");
  report.mutable_study()->mutable_runs(6)->set_checkpoint("runs/wanda-novels-1");
  const std::string page = ReportPage(Job(), report);
  ExpectStandsAlone(page);
  EXPECT_THAT(page, AllOf(HasSubstr("<h3>Checkpoints"), HasSubstr(">runs/gptq-novels-2<"),
                          HasSubstr(">runs/wanda-novels-1<"), Not(HasSubstr("The checkpoint is"))));
}

TEST(ReportPage, CredentialsOfTheRecipeStayOut) {
  v1::CompressionJob job = Job();
  job.set_model("s3://key:hidden@bucket/model");
  job.mutable_recipe()->mutable_calibration()->add_sources()->mutable_text()->set_uri("s3://key:hidden@bucket/a.jsonl");
  job.mutable_recipe()->mutable_evaluation()->set_reference("s3://key:hidden@bucket/b");
  EXPECT_THAT(ReportPage(job, WholeReport()), Not(HasSubstr("hidden")));
}

// Sets every field there is, lists to two entries, down to `depth` messages.
void FillAll(google::protobuf::Message* message, const std::string& text, double number, int depth) {
  using Field = google::protobuf::FieldDescriptor;
  const auto* reflection = message->GetReflection();
  const auto* descriptor = message->GetDescriptor();
  const auto whole = [&] { return std::abs(number) < 1e18 ? static_cast<int64_t>(number) : int64_t{-1} << 60; };
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const Field* field = descriptor->field(i);
    for (int entry = 0; entry < (field->is_repeated() ? 2 : 1); ++entry) {
      const bool list = field->is_repeated();
      switch (field->cpp_type()) {
        case Field::CPPTYPE_STRING:
          list ? reflection->AddString(message, field, text) : reflection->SetString(message, field, text);
          break;
        case Field::CPPTYPE_DOUBLE:
          list ? reflection->AddDouble(message, field, number) : reflection->SetDouble(message, field, number);
          break;
        case Field::CPPTYPE_INT32:
          list ? reflection->AddInt32(message, field, whole()) : reflection->SetInt32(message, field, whole());
          break;
        case Field::CPPTYPE_INT64:
          list ? reflection->AddInt64(message, field, whole()) : reflection->SetInt64(message, field, whole());
          break;
        case Field::CPPTYPE_UINT64:
          list ? reflection->AddUInt64(message, field, whole()) : reflection->SetUInt64(message, field, whole());
          break;
        case Field::CPPTYPE_BOOL:
          if (!list) reflection->SetBool(message, field, true);
          break;
        case Field::CPPTYPE_ENUM:
          if (!list) reflection->SetEnumValue(message, field, 77);
          break;
        case Field::CPPTYPE_MESSAGE:
          // Of Any alone the type names a message that is not there.
          if (depth == 0 || field->message_type()->full_name() == "google.rpc.Status") break;
          FillAll(list ? reflection->AddMessage(message, field) : reflection->MutableMessage(message, field), text,
                  number, depth - 1);
          break;
        default:
          break;
      }
    }
  }
}

TEST(ReportPage, NothingThatIsGivenBecomesMarkup) {
  const double odd[] = {0.0, -3.0, 1.5, 1e300, 4e9, std::nan(""), std::numeric_limits<double>::infinity()};
  const char* texts[] = {"<script>alert(1)</script>",
                         "\"'><b onload=x>",
                         "]]>&amp;&#x3c;",
                         "layers.3.\x01\x7f\xc2\x85",
                         "not UTF-8: \xff\xfe\xed\xa0\x80",
                         "",
                         "layers.99999999999.q_proj"};
  for (const double number : odd) {
    for (const char* text : texts) {
      v1::CompressionJob job;
      FillAll(&job, text, number, 6);
      v1::Report report;
      FillAll(&report, text, number, 6);
      for (auto& linear : *report.mutable_linears()) linear.set_name(absl::StrCat("model.layers.3.", text));
      report.mutable_study()->mutable_statistics(0)->set_metric("perplexity a");
      for (auto& run : *report.mutable_study()->mutable_runs()) {
        run.clear_error();
        for (auto& evaluation : *run.mutable_evaluations()) evaluation.set_name("a");
      }
      const std::string page = ReportPage(job, report);
      EXPECT_EQ(testing::MarkupProblem(page), "") << text << " " << number;
      EXPECT_THAT(
          page, AllOf(Not(HasSubstr("<script")), Not(HasSubstr("<b ")), Not(HasSubstr("nan")), Not(HasSubstr("\xff"))));
    }
  }
}

}  // namespace
}  // namespace calipress::report
