#include <ATen/Parallel.h>
#include <fstream>
#include <iostream>
#include <sstream>
#include "compress/arch/arch.h"
#include "compress/collective/group.h"
#include "compress/engine/stage.h"
#include "compress/recipe/recipe.h"
using namespace calipress;
struct Obs : engine::StageObserver {
  void OnProgress(const std::string&, double, const std::string&) override {}
  void OnBlockFinished(const worker::v1::FinishedBlock& b) override {
    double s = 0;
    for (auto& l : b.linears()) s += l.seconds();
    std::cout << "block " << b.index() << " solve " << s << "\n";
  }
  void OnPhaseFinished(const v1::PhaseReport& p) override {
    std::cout << p.name() << " " << p.seconds() << " s, peak " << p.peak_memory_bytes() / 1e6 << " MB";
    for (auto& [k, v] : p.activities()) std::cout << " " << k << "=" << v;
    std::cout << "\n";
  }
};
int main(int argc, char** argv) {
  at::set_num_threads(atoi(argv[4]));
  auto recipe = recipe::ParseYaml("calibration: {sources: [{token_ids: {uri: '" + std::string(argv[2]) +
                                  "'}}]}\nsteps: [{gptq: {bits: 4, group_size: 128}}]\n" + (argc > 5 ? argv[5] : ""));
  if (!recipe.ok()) {
    std::cerr << recipe.status();
    return 1;
  }
  std::ifstream f(std::string(argv[1]) + "/config.json");
  std::stringstream t;
  t << f.rdbuf();
  auto spec = arch::ParseConfig(t.str());
  worker::v1::Assignment a;
  a.set_world_size(1);
  a.set_model_uri(argv[1]);
  a.set_staging_uri(argv[3]);
  a.set_end_block(spec->blocks);
  *a.mutable_recipe() = recipe::Resolve(*recipe, *spec);
  auto store = storage::OpenObjectStore();
  CancellationToken c;
  auto g = collective::JoinGroup("gloo", {}, c);
  engine::StageEnvironment env{*store, **g, "cpu"};
  Obs o;
  auto out = engine::RunStage(a, env, o, c);
  if (!out.ok()) {
    std::cerr << out.status() << "\n";
    return 1;
  }
}
