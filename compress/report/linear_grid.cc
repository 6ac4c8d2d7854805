#include "compress/report/linear_grid.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "absl/strings/numbers.h"

namespace calipress::report {
namespace {

// The first part of a module path that is a number: "model.layers.3.mlp.down_proj" is of block 3.
// Far above any model; a number beyond it is part of a name.
constexpr int kMostBlocks = 1'000'000;

std::optional<int> BlockOf(std::string_view module) {
  while (!module.empty()) {
    const size_t dot = std::min(module.find('.'), module.size());
    const std::string part(module.substr(0, dot));
    int block = 0;
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos && absl::SimpleAtoi(part, &block) &&
        block < kMostBlocks) {
      return block;
    }
    module.remove_prefix(std::min(dot + 1, module.size()));
  }
  return std::nullopt;
}

std::string KindOf(const std::string& module) { return module.substr(module.rfind('.') + 1); }

}  // namespace

std::vector<LinearKind> LinearKinds(const v1::Report& report) {
  std::vector<LinearKind> kinds;
  for (const v1::LinearReport& linear : report.linears()) {
    const auto block = BlockOf(linear.name());
    if (!block) continue;
    const std::string name = KindOf(linear.name());
    auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const LinearKind& one) { return one.name == name; });
    if (kind == kinds.end()) kind = kinds.insert(kinds.end(), {name, {}});
    kind->by_block[*block] = &linear;
  }
  return kinds;
}

std::map<int, double> MeanByBlock(const v1::Report& report,
                                  const std::function<double(const v1::LinearReport&)>& value) {
  std::map<int, std::pair<double, int>> sums;
  for (const v1::LinearReport& linear : report.linears()) {
    const auto block = BlockOf(linear.name());
    if (!block) continue;
    sums[*block].first += value(linear);
    sums[*block].second += 1;
  }
  std::map<int, double> means;
  for (const auto& [block, sum] : sums) means[block] = sum.first / sum.second;
  return means;
}

}  // namespace calipress::report
