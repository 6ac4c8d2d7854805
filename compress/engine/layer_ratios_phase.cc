#include "compress/engine/layer_ratios_phase.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>
#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/log.h"
#include "compress/base/status_macros.h"
#include "compress/collective/group.h"
#include "compress/engine/block_solver.h"
#include "compress/engine/block_stream.h"
#include "compress/engine/domain_statistics.h"
#include "compress/engine/share_statistics.h"
#include "compress/engine/stage_blocks.h"
#include "compress/method/prune/owl/outliers.h"
#include "compress/method/prune/owl/ratios.h"
#include "compress/recipe/n_of_m.h"
#include "compress/recipe/owl.h"
#include "compress/recipe/recipe.h"

namespace calipress::engine {
namespace {

// A step with layer-wise ratios.
struct RatedStep {
  int index;
  std::vector<std::vector<arch::LinearSpec>> linears;  // of each block of the model, those that the step acts on
};

std::vector<RatedStep> RatedSteps(const StageContext& context) {
  std::vector<RatedStep> rated;
  const recipe::StepTable table(context.recipe());
  for (int step = 0; step < context.recipe().steps_size(); ++step) {
    if (recipe::OwlOf(context.recipe().steps(step)) == nullptr) continue;
    RatedStep& entry = rated.emplace_back(RatedStep{step, {}});
    for (int64_t block = 0; block < context.spec().blocks; ++block) {
      auto& linears = entry.linears.emplace_back();
      for (arch::LinearSpec& linear : arch::BlockLinears(context.spec(), block)) {
        const std::vector<int> steps = table.StepsFor(linear.module);
        if (std::find(steps.begin(), steps.end(), step) != steps.end()) linears.push_back(std::move(linear));
      }
    }
  }
  return rated;
}

// Square sums of the inputs of one block that some rated step looks at.
class BlockInputs {
 public:
  BlockInputs(const StageContext& context, const SharedTokens& tokens, const std::vector<RatedStep>& steps,
              int64_t block)
      : context_(context), mixing_(tokens.mixing) {
    for (const RatedStep& step : steps) {
      for (const arch::LinearSpec& linear : step.linears[block]) {
        auto& sums = sums_[linear.input];
        features_[linear.input] = linear.in;
        if (!sums) {
          sums = std::make_unique<DomainStatistics>(linear.in, method::StatisticsNeeds{.square_sum = true}, mixing_,
                                                    tokens.position(), context.device);
        }
      }
    }
  }

  void Add(int input, const at::Tensor& activations) {
    if (sums_[input]) sums_[input]->Add(activations);
  }

  // Ends the adding. Replicas ask for all inputs in one order, and get the sums over all of them.
  absl::StatusOr<method::InputStatistics> Statistics(int input) {
    if (!sums_[input]) return statistics_[input];
    std::vector<method::InputStatistics> domains = sums_[input]->Take();
    sums_[input].reset();
    if (context_.replicas()) {
      for (method::InputStatistics& domain : domains) {
        CALIPRESS_RETURN_IF_ERROR(ShareStatistics(context_.environment.group, {.square_sum = true}, features_[input],
                                                  HiddenOptions(context_), domain));
      }
    }
    statistics_[input] = Mix(std::move(domains), mixing_);
    return statistics_[input];
  }

 private:
  const StageContext& context_;
  const MixingPlan& mixing_;
  std::array<int64_t, BlockSolver::kInputs> features_ = {};
  std::array<std::unique_ptr<DomainStatistics>, BlockSolver::kInputs> sums_;
  std::array<method::InputStatistics, BlockSolver::kInputs> statistics_;
};

absl::StatusOr<double> OutlierShare(const StageContext& context, const RatedStep& step, const model::Block& block,
                                    BlockInputs& inputs) {
  std::map<int, method::owl::InputGroup> groups;
  for (const arch::LinearSpec& linear : step.linears[block.index()]) {
    method::owl::InputGroup& group = groups[linear.input];
    CALIPRESS_ASSIGN_OR_RETURN(group.statistics, inputs.Statistics(linear.input));
    group.tasks.push_back({linear.module, block.weight(linear.role), {}, block.index(), {}});
  }
  std::vector<method::owl::InputGroup> list;
  list.reserve(groups.size());
  for (auto& [input, group] : groups) list.push_back(std::move(group));
  return method::owl::OutlierShare(list, recipe::OwlOf(context.recipe().steps(step.index))->outlier_threshold());
}

// Shares of this stage's blocks, [steps, blocks of the model] on the CPU; zero elsewhere.
absl::StatusOr<at::Tensor> StageShares(StageContext& context, const SharedTokens& tokens,
                                       const std::vector<RatedStep>& steps) {
  at::Tensor shares = at::zeros({static_cast<int64_t>(steps.size()), context.spec().blocks}, at::kDouble);
  const auto report = [&](double blocks, const std::string& message) {
    const double all = context.assignment.end_block() - context.assignment.first_block();
    context.observer.OnProgress(kRatiosPhase, blocks / all, message);
  };
  CALIPRESS_ASSIGN_OR_RETURN(auto stream, BlockStream::Create(context, tokens, [&context](int64_t block) {
                               return LinearBytes(context.spec(), block);
                             }));
  double done = 0.0;
  for (;;) {
    CALIPRESS_ASSIGN_OR_RETURN(const auto window, stream->NextWindow());
    if (window.empty()) break;
    const double size = static_cast<double>(window.size());
    const std::string name = absl::StrCat("blocks ", window.front()->index(), "..", window.back()->index());
    std::vector<BlockInputs> inputs;
    inputs.reserve(window.size());
    for (const auto& block : window) inputs.emplace_back(context, tokens, steps, block->index());
    CALIPRESS_RETURN_IF_ERROR(stream->Run(
        [&](size_t i, const at::Tensor& hidden) {
          const BlockInterior interior =
              VisitBlockInputs(context, *window[i], hidden, stream->rotary(), [&](int input, const at::Tensor& x) {
                TimedActivity timed(context.activities, Activity::kStatistics);
                inputs[i].Add(input, x);
              });
          if (window[i]->index() + 1 == context.spec().blocks) return at::Tensor();
          TimedActivity timed(context.activities, Activity::kForward);
          return window[i]->AddMlp(interior.hidden, interior.activation);
        },
        [&](double share) { report(done + 0.8 * size * share, name + ": statistics"); }));
    for (size_t i = 0; i < window.size(); ++i) {
      CALIPRESS_RETURN_IF_ERROR(context.cancellation.status());
      report(done + 0.8 * size + 0.2 * static_cast<double>(i),
             absl::StrCat("block ", window[i]->index(), ": outliers"));
      TimedActivity timed(context.activities, Activity::kSolve);
      for (size_t step = 0; step < steps.size(); ++step) {
        const auto share = OutlierShare(context, steps[step], *window[i], inputs[i]);
        // In a study all ranks hear of it by the sum of the shares.
        if (!share.ok() && !EndsRunAlone(context, share.status())) return share.status();
        if (!share.ok()) LogWarning(std::string(share.status().message()), {{"block", window[i]->index()}});
        shares[static_cast<int64_t>(step)][window[i]->index()] = share.ok() ? *share : NAN;
      }
    }
    done += size;
  }
  CALIPRESS_RETURN_IF_ERROR(stream->Finish());
  return shares;
}

// Ratios of the blocks that the step acts on, in their order.
std::vector<v1::LayerRatio> Ratios(const StageContext& context, const RatedStep& step, const double* shares) {
  std::vector<v1::LayerRatio> ratios;
  std::vector<double> acted;
  for (int64_t block = 0; block < context.spec().blocks; ++block) {
    if (step.linears[block].empty()) continue;
    acted.push_back(shares[block]);
    v1::LayerRatio& ratio = ratios.emplace_back();
    ratio.set_step(step.index);
    ratio.set_block(static_cast<int32_t>(block));
    ratio.set_outlier_share(shares[block]);
  }
  const v1::Step& options = context.recipe().steps(step.index);
  const double lambda = recipe::OwlOf(options)->lambda();
  if (const auto pattern = recipe::ParseNOfM(recipe::PatternOf(options))) {
    const std::vector<int> zeros = method::owl::Zeros(acted, *pattern, lambda);
    for (size_t i = 0; i < ratios.size(); ++i) {
      const recipe::NOfM own{zeros[i], pattern->of};
      ratios[i].set_sparsity(own.sparsity());
      ratios[i].set_pattern(absl::StrCat(own.zeros, ":", own.of));
    }
    return ratios;
  }
  const std::vector<double> sparsities = method::owl::Sparsities(acted, recipe::SparsityOf(options), lambda);
  for (size_t i = 0; i < ratios.size(); ++i) ratios[i].set_sparsity(sparsities[i]);
  return ratios;
}

}  // namespace

absl::Status SetLayerRatios(StageContext& context, const SharedTokens& tokens, StepMethods* methods) {
  at::NoGradGuard no_grad;
  const std::vector<RatedStep> steps = RatedSteps(context);
  auto made = StageShares(context, tokens, steps);
  context.out_of_step = !made.ok();
  CALIPRESS_ASSIGN_OR_RETURN(at::Tensor shares, std::move(made));
  // One rank has a block's share and the others add zeros to it: the sum is that share, to the bit. Replicas all know
  // all shares.
  if (context.replicas() && !context.leader()) shares.zero_();
  shares = shares.to(context.device);
  CALIPRESS_RETURN_IF_ERROR(context.environment.group.AllReduceSum(shares));
  shares = shares.cpu();
  if (!at::isfinite(shares).all().item<bool>()) {
    return PreconditionError(reason::kNonFiniteActivations,
                             "the outliers of a block cannot be counted: its weights or activations are no numbers");
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    const v1::Step& options = context.recipe().steps(steps[i].index);
    for (v1::LayerRatio& ratio :
         Ratios(context, steps[i], shares.const_data_ptr<double>() + i * context.spec().blocks)) {
      CALIPRESS_RETURN_IF_ERROR(methods->SetForBlock(steps[i].index, ratio.block(),
                                                     recipe::WithRatio(options, ratio.sparsity(), ratio.pattern())));
      if (context.leader()) *context.outcome.add_layer_ratios() = std::move(ratio);
    }
  }
  return absl::OkStatus();
}

}  // namespace calipress::engine
