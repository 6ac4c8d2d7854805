// What gptq and awq cannot hold, declared in config_entry.h.
#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "compress/checkpoint/formats/config_entry.h"

namespace calipress::checkpoint {
std::pair<std::string, std::string> CutAtBlock(const std::string& module) {
  size_t begin = 0;
  while (begin < module.size()) {
    const size_t end = std::min(module.find('.', begin), module.size());
    const bool number = end > begin && std::all_of(module.begin() + begin, module.begin() + end,
                                                   [](char c) { return c >= '0' && c <= '9'; });
    if (number && end < module.size()) return {module.substr(0, end), module.substr(end + 1)};
    begin = end + 1;
  }
  return {module, ""};
}

std::vector<Misfit> NotIntegersInGroups(const QuantizationScheme& scheme, const std::string& format) {
  std::vector<Misfit> misfits;
  const auto add = [&](const char* option, const char* what) {
    misfits.push_back({option, absl::StrCat(format, " holds ", what, "; choose compressed-tensors")});
  };
  const Strategy strategy = scheme.Normalized().strategy;
  if (scheme.type != NumberType::kInt) add("type", "integers alone");
  if (strategy != Strategy::kGroup && strategy != Strategy::kChannel) add("strategy", "groups of columns or channels");
  if (scheme.activations != Activations::kNone) add("activations", "weights alone: inputs stay as they are");
  return misfits;
}

std::string SeveralSchemes(const std::vector<QuantizedModule>& modules, const std::string& format) {
  for (const QuantizedModule& module : modules) {
    if (module.scheme == modules.front().scheme) continue;
    return absl::StrCat(format, " has one scheme for all linears, and ", modules.front().module, " and ", module.module,
                        " have different ones; choose compressed-tensors, or one scheme");
  }
  return {};
}

std::string DifferingBlocks(const std::vector<QuantizedModule>& modules, const std::vector<std::string>& dense) {
  std::map<std::string, std::set<std::string>> blocks;
  for (const std::string& module : dense) {
    const auto [block, name] = CutAtBlock(module);
    if (!name.empty()) blocks[block];
  }
  for (const QuantizedModule& module : modules) {
    const auto [block, name] = CutAtBlock(module.module);
    blocks[block].insert(name);
  }
  for (const auto& [block, names] : blocks) {
    const auto& [first, wanted] = *blocks.begin();
    if (names == wanted) continue;
    std::vector<std::string> differing;
    std::set_symmetric_difference(names.begin(), names.end(), wanted.begin(), wanted.end(),
                                  std::back_inserter(differing));
    const std::string& name = differing.front();
    const bool here = names.contains(name);
    return absl::StrCat("gptq names linears once for all blocks, and ", here ? block : first, ".", name,
                        " is quantized while ", here ? first : block, ".", name,
                        " is not; target the same linears in every block, or choose compressed-tensors");
  }
  return {};
}

}  // namespace calipress::checkpoint
