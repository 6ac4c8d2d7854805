// What the model writes, by all of the decoding path of one stage, and what scoring says of it:
//   calipress-test-generate MODEL_DIR PROMPTS.npy OUT.npy TOKENS TEMPERATURE THREADS
// PROMPTS.npy is int64 [n, length]; OUT.npy becomes int64 [n, TOKENS], texts that no token ends. Temperature 0: the
// likeliest tokens. Prints a line of JSON: seconds, and both perplexities of every sequence.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/source.h"
#include "compress/collective/group.h"
#include "compress/engine/oracle.h"

namespace calipress {
namespace {

class Silent : public engine::StageObserver {
 public:
  void OnProgress(const std::string&, double, const std::string&) override {}
  void OnBlockFinished(const worker::v1::FinishedBlock&) override {}
  void OnPhaseFinished(const v1::PhaseReport&) override {}
};

std::vector<double> Perplexities(const std::vector<calibration::ScoredSequence>& sequences) {
  std::vector<double> found;
  for (const auto& sequence : sequences) found.push_back(sequence.Perplexity());
  return found;
}

absl::Status Run(char** argv) {
  const auto store = storage::OpenObjectStore();
  const CancellationToken cancellation;
  CALIPRESS_ASSIGN_OR_RETURN(const auto group, collective::JoinGroup("gloo", {}, cancellation));
  worker::v1::Assignment assignment;
  assignment.set_world_size(1);
  assignment.set_model_uri(argv[1]);
  CALIPRESS_ASSIGN_OR_RETURN(auto model, engine::Open(*store, argv[1], at::kCPU, assignment.recipe()));
  assignment.set_end_block(static_cast<int>(model->spec.blocks));
  engine::StageEnvironment environment{*store, *group};
  Silent observer;
  engine::StageContext context{assignment, environment, observer, cancellation, at::kCPU, std::move(model), {}, {}};
  engine::PipelineOracle oracle(context);

  CALIPRESS_ASSIGN_OR_RETURN(const std::string bytes, store->ReadAll(argv[2], int64_t{1} << 30));
  CALIPRESS_ASSIGN_OR_RETURN(const calibration::TokenMatrix prompts, calibration::ParseNpy(bytes));
  calibration::GenerationRequest request;
  request.sequences = prompts.sequences;
  for (int64_t i = 0; i < prompts.sequences; ++i) {
    const auto begin = prompts.ids.begin() + i * prompts.length;
    request.prompts.emplace_back(begin, begin + prompts.length);
  }
  request.tokens = std::atoi(argv[4]);
  request.initial_temperature = request.final_temperature = std::atof(argv[5]);
  const Stopwatch watch;
  CALIPRESS_ASSIGN_OR_RETURN(const auto written, oracle.Generate(request));
  const double seconds = watch.Seconds();
  calibration::TokenMatrix out{request.sequences, request.tokens, {}};
  std::vector<std::vector<int64_t>> ids;
  for (const auto& sequence : written) {
    out.ids.insert(out.ids.end(), sequence.ids.begin(), sequence.ids.end());
    ids.push_back(sequence.ids);
  }
  CALIPRESS_RETURN_IF_ERROR(store->WriteAll(argv[3], calibration::FormatNpy(out)));
  CALIPRESS_ASSIGN_OR_RETURN(const auto scored, oracle.Score(std::move(ids)));
  std::printf("{\"seconds\": %f, \"written\": [%s], \"scored\": [%s]}\n", seconds,
              absl::StrJoin(Perplexities(written), ", ").c_str(), absl::StrJoin(Perplexities(scored), ", ").c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace calipress

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: calipress-test-generate MODEL_DIR PROMPTS.npy OUT.npy TOKENS TEMPERATURE THREADS\n");
    return 2;
  }
  at::set_num_threads(std::atoi(argv[6]));
  const absl::Status status = calipress::Run(argv);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s: %s\n", calipress::ErrorReason(status).c_str(), std::string(status.message()).c_str());
  return 1;
}
