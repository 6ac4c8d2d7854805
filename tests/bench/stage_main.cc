// stage_main MODEL IDS.npy STAGING THREADS [more recipe yaml]: one GPTQ stage without services, and where its time and
// memory go.

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include <ATen/Parallel.h>

#include "compress/arch/arch.h"
#include "compress/collective/group.h"
#include "compress/engine/stage.h"
#include "compress/recipe/recipe.h"

namespace {

class Printer : public calipress::engine::StageObserver {
 public:
  void OnProgress(const std::string&, double, const std::string&) override {}
  void OnBlockFinished(const calipress::worker::v1::FinishedBlock&) override {}
  void OnPhaseFinished(const calipress::v1::PhaseReport& phase) override {
    std::cout << phase.name() << ": " << phase.seconds() << " s, peak " << phase.peak_memory_bytes() / 1e6 << " MB";
    for (const auto& [activity, seconds] : phase.activities()) std::cout << ", " << activity << " " << seconds << " s";
    std::cout << std::endl;
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::cerr << "usage: calipress-bench-stage MODEL IDS.npy STAGING THREADS [more recipe yaml]\n";
    return 2;
  }
  using namespace calipress;
  at::set_num_threads(std::atoi(argv[4]));
  const auto parsed =
      recipe::ParseYaml("calibration: {sources: [{token_ids: {uri: '" + std::string(argv[2]) +
                        "'}}]}\nsteps: [{gptq: {bits: 4, group_size: 128}}]\n" + (argc > 5 ? argv[5] : ""));
  std::stringstream config;
  config << std::ifstream(std::string(argv[1]) + "/config.json").rdbuf();
  const auto spec = arch::ParseConfig(config.str());
  if (!parsed.ok() || !spec.ok()) {
    std::cerr << parsed.status() << "\n" << spec.status() << "\n";
    return 2;
  }
  worker::v1::Assignment assignment;
  assignment.set_world_size(1);
  assignment.set_model_uri(argv[1]);
  assignment.set_staging_uri(argv[3]);
  assignment.set_end_block(static_cast<int>(spec->blocks));
  *assignment.mutable_recipe() = recipe::Resolve(*parsed, *spec);

  const auto store = storage::OpenObjectStore();
  const CancellationToken cancellation;
  const auto group = collective::JoinGroup("gloo", {}, cancellation);
  if (!group.ok()) {
    std::cerr << group.status() << "\n";
    return 1;
  }
  engine::StageEnvironment environment{*store, **group};
  Printer printer;
  const auto outcome = engine::RunStage(assignment, environment, printer, cancellation);
  if (!outcome.ok()) std::cerr << outcome.status() << "\n";
  return outcome.ok() ? 0 : 1;
}
