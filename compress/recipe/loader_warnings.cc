#include "compress/recipe/loader_warnings.h"

#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

constexpr int kSplits[] = {2, 4, 8};

// What the blocks' linears are stored as.
struct Stored {
  // Of each group size, the linears whose inputs are split over devices: by inputs, one name of each.
  std::map<int64_t, std::map<int64_t, std::string>> split_inputs;
  // Outputs (by size, one name of each) of linears in blocks, which are split too.
  std::map<int64_t, std::string> block_outputs;
  // A linear whose blocks' shape does not show in the shape of its scales; one that is merged with others, and ends
  // within a block.
  std::string unclear_blocks, merged_blocks;
  bool three_bits = false, spqr = false, quantized = false, pruned = false;
  bool asymmetric_inputs = false;  // zero points in weights whose inputs are quantized
  bool wide_codes = false;         // 4-bit codes in 8 bits
  bool dropped_activations = false;
};

// `blocks` of 128 x 128.
void CollectBlocks(const arch::LinearSpec& linear, Stored* stored) {
  const bool cut = linear.out % checkpoint::kBlockSize != 0;
  const bool one_column = linear.in == checkpoint::kBlockSize;
  if (linear.out > checkpoint::kBlockSize && (cut || one_column) && stored->unclear_blocks.empty()) {
    stored->unclear_blocks = linear.module;
  }
  const bool merged = linear.role == arch::Role::kQuery || linear.role == arch::Role::kKey ||
                      linear.role == arch::Role::kGate;  // the last of those merged may end anywhere
  if (cut && merged && stored->merged_blocks.empty()) {
    stored->merged_blocks = absl::StrCat("the ", linear.out, " outputs of ", linear.module);
  }
}

Stored Collect(const v1::Recipe& recipe, const arch::ArchSpec& spec) {
  Stored stored;
  const StepTable table(recipe);
  const bool dense = recipe.output().format() == "dense";
  for (int64_t block = 0; block < spec.blocks; ++block) {
    for (const arch::LinearSpec& linear : arch::BlockLinears(spec, block)) {
      const std::vector<int> steps = table.StepsFor(linear.module);
      for (const int step : steps) stored.pruned |= Prunes(recipe.steps(step));
      if (steps.empty() || !Quantizes(recipe.steps(steps.back()))) continue;
      if (dense) {
        stored.dropped_activations |=
            SchemeOf(recipe.steps(steps.back())).activations != checkpoint::Activations::kNone;
        continue;
      }
      const v1::Step& step = recipe.steps(steps.back());
      if (step.has_spqr()) {
        stored.spqr = true;
        continue;
      }
      stored.quantized = true;
      const checkpoint::QuantizationScheme scheme = SchemeOf(step);
      stored.three_bits |= scheme.bits == 3;
      stored.asymmetric_inputs |= !scheme.Packed() && !scheme.symmetric;
      stored.wide_codes |= !scheme.Packed() && scheme.bits < 8;
      const bool blocks = scheme.strategy == checkpoint::Strategy::kBlock;
      if (blocks) CollectBlocks(linear, &stored);
      if (scheme.strategy != checkpoint::Strategy::kGroup && !blocks) continue;
      if (blocks && linear.role != arch::Role::kOutput && linear.role != arch::Role::kDown) {
        stored.block_outputs.try_emplace(linear.out, linear.module);
      }
      auto& inputs = stored.split_inputs[blocks ? checkpoint::kBlockSize : scheme.group_size];
      if (linear.role == arch::Role::kOutput || linear.role == arch::Role::kDown) {
        inputs.try_emplace(linear.in, linear.module);
      }
    }
  }
  return stored;
}

// Loaders cut the inputs of o_proj and down_proj into equal parts, and refuse parts with a broken group.
std::optional<std::string> SplitWarning(int64_t group, const std::map<int64_t, std::string>& inputs) {
  std::vector<int> refused;
  std::string example;
  for (const int split : kSplits) {
    for (const auto& [in, module] : inputs) {
      if (in % (split * group) == 0) continue;
      refused.push_back(split);
      if (example.empty())
        example = absl::StrCat(module, " has ", in, " inputs, which ", split,
                               " parts of whole groups "
                               "do not make");
      break;
    }
  }
  if (refused.empty()) return std::nullopt;
  return absl::StrCat("group size ", group, " does not fit tensor parallelism over ", absl::StrJoin(refused, ", "),
                      " devices: ", example,
                      "; vLLM refuses to load it so. Choose a smaller group_size, or fewer devices");
}

// The outputs of the other linears likewise, which have to be whole blocks.
std::optional<std::string> BlockOutputsWarning(const std::map<int64_t, std::string>& outputs) {
  std::vector<int> refused;
  std::string example;
  for (const int split : kSplits) {
    for (const auto& [out, module] : outputs) {
      if (out % (split * checkpoint::kBlockSize) == 0) continue;
      refused.push_back(split);
      if (example.empty()) example = absl::StrCat(module, " has ", out, " outputs");
      break;
    }
  }
  if (refused.empty()) return std::nullopt;
  return absl::StrCat("blocks of 128 x 128 do not fit tensor parallelism over ", absl::StrJoin(refused, ", "),
                      " devices: ", example,
                      "; vLLM refuses to load them so. Choose strategy: channel, or fewer devices");
}

// Query heads are split; key and value heads are split or repeated.
std::optional<std::string> HeadsWarning(const arch::ArchSpec& spec) {
  std::vector<int> refused;
  for (const int split : kSplits) {
    if (spec.heads % split != 0 || (spec.kv_heads % split != 0 && split % spec.kv_heads != 0)) refused.push_back(split);
  }
  if (refused.empty()) return std::nullopt;
  return absl::StrCat("the model's ", spec.heads, " heads and ", spec.kv_heads,
                      " key-value heads do not fit tensor "
                      "parallelism over ",
                      absl::StrJoin(refused, ", "), " devices, compressed or not");
}

}  // namespace

std::vector<std::string> LoaderWarnings(const v1::Recipe& recipe, const arch::ArchSpec& spec) {
  const Stored stored = Collect(recipe, spec);
  std::vector<std::string> warnings;
  for (const auto& [group, inputs] : stored.split_inputs) {
    if (auto warning = SplitWarning(group, inputs)) warnings.push_back(*std::move(warning));
  }
  if (auto warning = BlockOutputsWarning(stored.block_outputs)) warnings.push_back(*std::move(warning));
  if (!stored.split_inputs.empty()) {
    if (auto warning = HeadsWarning(spec)) warnings.push_back(*std::move(warning));
  }
  if (stored.three_bits) {
    warnings.push_back(
        "3 bits are packed as compressed-tensors 0.18.0 and later read them; 0.17.0 and earlier (and transformers with "
        "them) fail or read other weights. 2, 4 and 8 bits are read by all");
  }
  if (!stored.unclear_blocks.empty()) {
    warnings.push_back(
        absl::StrCat("compressed-tensors 0.18.0 and earlier (and transformers with them) guess the blocks of ",
                     stored.unclear_blocks,
                     " from the shape of its scales, and fail or read other weights; 0.19.0 and later read them"));
  }
  if (!stored.merged_blocks.empty()) {
    warnings.push_back(absl::StrCat("vLLM refuses blocks of 128 x 128 that cut ", stored.merged_blocks,
                                    ", which it merges with others. Choose strategy: channel for it"));
  }
  if (stored.asymmetric_inputs) {
    warnings.push_back(
        "vLLM takes quantized activations with symmetric weights alone; transformers loads these. Set symmetric: true "
        "for both");
  }
  if (stored.wide_codes) {
    warnings.push_back("4-bit weights under quantized activations are stored in 8 bits each, as loaders want them");
  }
  if (stored.dropped_activations) {
    warnings.push_back(
        "output.format dense holds weights alone: activations are quantized neither in the result nor in its "
        "evaluation");
  }
  if (stored.spqr) {
    warnings.push_back(
        "no inference engine loads the spqr layout; it is for archives and for readers of docs/formats/spqr.md. Set "
        "output.format: dense to load the model elsewhere");
  }
  if (stored.pruned && !stored.quantized && !stored.spqr) {
    warnings.push_back("pruned weights are stored as zeros of dense tensors: files and memory get no smaller");
  }
  return warnings;
}

}  // namespace calipress::recipe
