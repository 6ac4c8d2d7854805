#include "client/cli/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "google/rpc/error_details.pb.h"
#include "nlohmann/json.hpp"
#include "testing_fake_service.h"

namespace calipress::cli {
namespace {

using client::FakeService;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kVerbs[] = {"run",    "submit",  "get",  "list",    "watch",   "cancel",  "delete",
                                  "report", "workers", "eval", "inspect", "convert", "recipes", "completion"};

struct Outcome {
  int exit_code;
  std::string out;
  std::string err;
};

Outcome Call(const std::vector<std::string>& arguments) {
  std::ostringstream out;
  std::ostringstream err;
  const int exit_code = RunProgram(arguments, Console{out, err});
  return {exit_code, out.str(), err.str()};
}

// A file that is gone with the program.
std::string RecipeFile(const std::string& text) {
  struct Folder {
    std::filesystem::path path =
        std::filesystem::path(::testing::TempDir()) / ("calipress-recipes-" + std::to_string(getpid()));
    int files = 0;
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() { std::filesystem::remove_all(path); }
  };
  static Folder folder;
  const std::string path = folder.path / (std::to_string(folder.files++) + ".yaml");
  std::ofstream(path) << text;
  return path;
}

TEST(ProgramTest, EveryVerbHasHelpWithAnExample) {
  for (const std::string verb : kVerbs) {
    const Outcome help = Call({verb, "--help"});
    EXPECT_EQ(help.exit_code, 0) << verb;
    EXPECT_THAT(help.out, HasSubstr("example"));
    EXPECT_THAT(help.out, HasSubstr("calipress " + verb));
  }
  const Outcome all = Call({"--help"});
  for (const std::string verb : kVerbs) EXPECT_THAT(all.out, HasSubstr("\n  " + verb + " "));
}

TEST(ProgramTest, WrongCommandLinesAreRefused) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                    {"nothing"},
                                                    {"run"},
                                                    {"run", "m", "o"},
                                                    {"get", "a", "--server"},
                                                    {"run", "m", "o", "--recipe", "r", "--workers", "0"},
                                                    {"run", "m", "o", "--recipe", "r", "--unknown"},
                                                    {"eval", "m"},
                                                    {"eval", "m", "--multiple-choice", "q", "--choice-fields", "a,b"},
                                                    {"eval", "m", "--text", "t", "--device", "tpu"},
                                                    {"list", "--server", "a:1", "--state", "odd"},
                                                    {"completion", "csh"}}) {
    const Outcome refused = Call(arguments);
    EXPECT_EQ(refused.exit_code, 2) << ::testing::PrintToString(arguments);
    EXPECT_THAT(refused.err, HasSubstr("error: "));
    EXPECT_THAT(refused.err, HasSubstr("--help"));
  }
}

TEST(ProgramTest, VersionIsPrinted) {
  const Outcome version = Call({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, HasSubstr("calipress 0."));
}

TEST(CompletionTest, EveryShellOffersEveryVerbAndItsOptions) {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const Outcome script = Call({"completion", shell});
    EXPECT_EQ(script.exit_code, 0);
    for (const std::string verb : kVerbs) EXPECT_THAT(script.out, HasSubstr(verb)) << shell;
    EXPECT_THAT(script.out, HasSubstr("threads-per-worker")) << shell;
    EXPECT_THAT(script.out, HasSubstr("request-id")) << shell;
  }
}

TEST(CompletionTest, BashAcceptsTheScript) {
  const std::string path = ::testing::TempDir() + "/calipress-completion-" + std::to_string(getpid());
  std::ofstream(path) << Call({"completion", "bash"}).out
                      << "COMP_WORDS=(calipress submit --req); COMP_CWORD=2; _calipress; [ \"${COMPREPLY[0]}\" = "
                         "--request-id ] || exit 1\n"
                         "COMP_WORDS=(calipress wor); COMP_CWORD=1; _calipress; [ \"${COMPREPLY[0]}\" = workers ]\n";
  EXPECT_EQ(std::system(("bash " + path).c_str()), 0);
  std::filesystem::remove(path);
}

TEST(RecipesTest, ListsPresetsAndPrintsOne) {
  EXPECT_THAT(Call({"recipes"}).out, HasSubstr("gptq-w4a16"));
  EXPECT_THAT(Call({"recipes", "rtn-w4a16"}).out, HasSubstr("steps:"));
  EXPECT_EQ(nlohmann::json::parse(Call({"recipes", "--json"}).out).at(0).size(), 2);
  EXPECT_EQ(Call({"recipes", "nothing"}).exit_code, 2);
}

TEST(SubmitTest, SendsWhatTheCommandLineSays) {
  FakeService service;
  service.job.set_name("compressionJobs/a");
  const std::string recipe =
      RecipeFile("steps: [{gptq: {bits: 4}}]\ncalibration: {sources: [{text: {uri: old.txt}}]}\n");
  const Outcome done = Call({"submit",
                             "model",
                             "s3://b/out",
                             "--recipe",
                             recipe,
                             "--server",
                             service.address(),
                             "--set",
                             "steps[0].gptq.group_size=64",
                             "--set",
                             "calibration.samples=8",
                             "--calibration",
                             "ids.npy",
                             "--request-id",
                             "r",
                             "--id",
                             "mine",
                             "--workers",
                             "3",
                             "--device",
                             "cuda"});
  ASSERT_EQ(done.exit_code, 0) << done.err;
  EXPECT_EQ(done.out, "compressionJobs/a\n");
  ASSERT_EQ(service.creates.size(), 1);
  const v1::CreateCompressionJobRequest& sent = service.creates[0];
  const std::string here = std::filesystem::current_path().string();
  EXPECT_EQ(sent.request_id(), "r");
  EXPECT_EQ(sent.compression_job_id(), "mine");
  EXPECT_EQ(sent.compression_job().model(), here + "/model");
  EXPECT_EQ(sent.compression_job().output(), "s3://b/out");
  EXPECT_EQ(sent.compression_job().placement().workers(), 3);
  EXPECT_EQ(sent.compression_job().placement().device(), "cuda");
  const v1::Recipe& body = sent.compression_job().recipe();
  EXPECT_EQ(body.steps(0).gptq().group_size(), 64);
  EXPECT_EQ(body.calibration().samples(), 8);
  ASSERT_EQ(body.calibration().sources_size(), 1);
  EXPECT_EQ(body.calibration().sources(0).token_ids().uri(), here + "/ids.npy");
}

TEST(SubmitTest, LocalMistakesAreRefusedBeforeTheServerIsAsked) {
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--recipe", "no-such-preset"},
                                                {"--recipe", RecipeFile("stepz: []\n")},
                                                {"--recipe", "rtn-w4a16", "--set", "nothing"},
                                                {"--recipe", ::testing::TempDir()}}) {
    std::vector<std::string> arguments = {"submit", "m", "o", "--server", "127.0.0.1:9"};
    arguments.insert(arguments.end(), wrong.begin(), wrong.end());
    const Outcome refused = Call(arguments);
    EXPECT_EQ(refused.exit_code, 2) << ::testing::PrintToString(wrong);
    EXPECT_THAT(refused.err, HasSubstr("INVALID_RECIPE"));
  }
  EXPECT_THAT(Call({"submit", "m", "o", "--server", "127.0.0.1:9", "--recipe", "no-such-preset"}).err,
              HasSubstr("gptq-w4a16"));
}

TEST(SubmitTest, WaitShowsProgressThenTheSummary) {
  FakeService service;
  service.job.set_name("compressionJobs/a");
  service.job.set_output("/out");
  service.job.set_state(v1::CompressionJob::SUCCEEDED);
  service.job.mutable_report()->set_source_bytes(100);
  service.job.mutable_report()->set_output_bytes(50);
  service.on_watch = [](auto, auto* writer, auto) {
    v1::WatchCompressionJobResponse answer;
    *answer.add_events() = FakeService::Event(1, v1::CompressionJob::RUNNING);
    *answer.add_events() = FakeService::Event(2, v1::CompressionJob::SUCCEEDED);
    writer->Write(answer);
    return grpc::Status::OK;
  };
  const std::vector<std::string> arguments = {"submit",          "m",     "/out", "--recipe", "rtn-w4a16", "--server",
                                              service.address(), "--wait"};
  const Outcome done = Call(arguments);
  EXPECT_EQ(done.exit_code, 0);
  EXPECT_THAT(done.err, HasSubstr("running"));
  EXPECT_THAT(done.out,
              HasSubstr("written   /out\nreport    /out/report.html\nsize      100 B -> 50 B (2.00 times smaller)"));

  std::vector<std::string> with_json = arguments;
  with_json.push_back("--json");
  EXPECT_EQ(nlohmann::json::parse(Call(with_json).out).at("state"), "SUCCEEDED");

  service.job.set_state(v1::CompressionJob::FAILED);
  service.job.mutable_error()->set_code(9);
  service.job.mutable_error()->set_message("the disk is full");
  const Outcome failed = Call(arguments);
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_THAT(failed.err, HasSubstr("the disk is full"));
}

TEST(SubmitTest, ValidateOnlyShowsTheEstimate) {
  FakeService service;
  service.job.mutable_estimate()->set_blocks(6);
  service.job.mutable_estimate()->set_worker_memory_bytes(2'000'000);
  service.job.mutable_estimate()->add_warnings("groups do not divide over 8 devices");
  const Outcome done =
      Call({"submit", "m", "/out", "--recipe", "rtn-w4a16", "--server", service.address(), "--validate-only"});
  EXPECT_EQ(done.exit_code, 0);
  EXPECT_TRUE(service.creates[0].validate_only());
  EXPECT_THAT(done.out, HasSubstr("6 blocks"));
  EXPECT_THAT(done.out, HasSubstr("2.00 MB"));
  EXPECT_THAT(done.out, HasSubstr("warning: groups do not divide over 8 devices"));
}

TEST(ServerVerbsTest, RefusalsShowReasonAndExitWith2) {
  FakeService service;
  google::rpc::Status details;
  details.set_code(5);
  details.set_message("no job of that name");
  google::rpc::ErrorInfo info;
  info.set_reason("JOB_NOT_FOUND");
  (*info.mutable_metadata())["class"] = "user";
  details.add_details()->PackFrom(info);
  for (const std::string verb : {"get", "cancel", "delete", "report"}) {
    service.FailNext({{grpc::StatusCode::NOT_FOUND, "no job of that name", details.SerializeAsString()}});
    const Outcome refused = Call({verb, "x", "--server", service.address()});
    EXPECT_EQ(refused.exit_code, 2) << verb;
    EXPECT_THAT(refused.err, HasSubstr("error: no job of that name\n  reason: JOB_NOT_FOUND\n  do: calipress list"));
    EXPECT_EQ(service.names.back(), "compressionJobs/x");
  }
}

TEST(ServerVerbsTest, AbsentServerExitsWith3) {
  const Outcome away = Call({"workers", "--server", "127.0.0.1:9"});
  EXPECT_EQ(away.exit_code, 3);
  EXPECT_THAT(away.err, HasSubstr("127.0.0.1:9"));
}

TEST(ServerVerbsTest, GetReportAndWatch) {
  FakeService service;
  service.job.set_name("compressionJobs/x");
  service.job.set_state(v1::CompressionJob::RUNNING);
  EXPECT_THAT(Call({"get", "x", "--server", service.address()}).out, HasSubstr("state     running"));
  EXPECT_EQ(nlohmann::json::parse(Call({"get", "x", "--server", service.address(), "--json"}).out).at("state"),
            "RUNNING");
  EXPECT_EQ(Call({"report", "x", "--server", service.address()}).exit_code, 2);
  service.job.mutable_report()->add_warnings("careful");
  EXPECT_THAT(Call({"report", "x", "--server", service.address()}).out, HasSubstr("careful"));
  const std::string page = Call({"report", "x", "--html", "-", "--server", service.address()}).out;
  EXPECT_THAT(page, HasSubstr("<!DOCTYPE html>"));
  EXPECT_THAT(page, HasSubstr("careful"));
  const std::string file =
      std::filesystem::path(::testing::TempDir()) / ("report" + std::to_string(getpid()) + ".html");
  const Outcome written = Call({"report", "x", "--html", file, "--server", service.address()});
  EXPECT_EQ(written.out, "written   " + file + "\n");
  std::stringstream bytes;
  bytes << std::ifstream(file).rdbuf();
  EXPECT_EQ(bytes.str(), page);
  std::filesystem::remove(file);
  const Outcome nowhere = Call({"report", "x", "--html", "/nowhere/at/all.html", "--server", service.address()});
  EXPECT_EQ(nowhere.exit_code, 2);
  EXPECT_THAT(nowhere.err, HasSubstr("/nowhere/at/all.html"));
  EXPECT_EQ(Call({"report", "x", "--html", "-", "--json", "--server", service.address()}).exit_code, 2);
  service.job.mutable_recipe()->mutable_calibration()->set_seed(4711);
  service.job.mutable_recipe()->mutable_calibration()->add_sources()->mutable_text()->set_uri(
      "s3://key:hidden@bucket/a.jsonl");
  EXPECT_THAT(Call({"report", "x", "--recipe", "--server", service.address()}).out,
              AllOf(HasSubstr("seed: 4711"), HasSubstr("bucket/a.jsonl"), Not(HasSubstr("hidden"))));
  EXPECT_EQ(Call({"report", "x", "--recipe", "--json", "--server", service.address()}).exit_code, 2);
  service.on_watch = [](auto, auto* writer, auto) {
    v1::WatchCompressionJobResponse answer;
    *answer.add_events() = FakeService::Event(1, v1::CompressionJob::FAILED);
    answer.mutable_events(0)->set_message("going on from block 3");
    writer->Write(answer);
    return grpc::Status::OK;
  };
  service.job.set_state(v1::CompressionJob::FAILED);
  const Outcome watched = Call({"watch", "x", "--server", service.address()});
  EXPECT_EQ(watched.exit_code, 1);
  EXPECT_THAT(watched.out, HasSubstr("going on from block 3"));
  EXPECT_EQ(nlohmann::json::parse(Call({"watch", "x", "--server", service.address(), "--json"}).out).at("message"),
            "going on from block 3");
}

TEST(ServerVerbsTest, ListFollowsPagesUpToTheLimit) {
  FakeService service;
  service.job.set_name("compressionJobs/x");
  service.job.set_model("s3://key:hush@bucket/m");
  service.pages = 5;
  const Outcome some = Call({"list", "--server", service.address(), "--limit", "3", "--state", "Running"});
  EXPECT_EQ(some.exit_code, 0);
  ASSERT_EQ(service.lists.size(), 3);
  EXPECT_EQ(service.lists[0].states(0), v1::CompressionJob::RUNNING);
  EXPECT_EQ(service.lists[1].page_token(), "page1");
  EXPECT_THAT(some.out, HasSubstr("there are more"));
  EXPECT_THAT(some.out, Not(HasSubstr("hush")));
}

TEST(ServerVerbsTest, WorkersAreATable) {
  FakeService service;
  v1::WorkerInfo* worker = service.workers.add_workers();
  worker->set_id("w0");
  worker->set_state(v1::WorkerInfo::IDLE);
  worker->set_device("cpu");
  worker->set_threads(2);
  worker->set_memory_bytes(8'000'000'000);
  const Outcome shown = Call({"workers", "--server", service.address()});
  EXPECT_THAT(shown.out, HasSubstr("w0      IDLE   cpu           2  8.00 GB  0.00 s ago"));
  EXPECT_EQ(nlohmann::json::parse(Call({"workers", "--server", service.address(), "--json"}).out)
                .at("workers")
                .at(0)
                .at("id"),
            "w0");
}

}  // namespace
}  // namespace calipress::cli
