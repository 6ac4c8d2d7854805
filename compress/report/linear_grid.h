#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "calipress/v1/report.pb.h"

namespace calipress::report {

// The linears of one kind ("q_proj"), by block.
struct LinearKind {
  std::string name;
  std::map<int, const v1::LinearReport*> by_block;
};

// Of all linears whose module path has a number, in the order in which kinds first come. `report` outlives them.
std::vector<LinearKind> LinearKinds(const v1::Report& report);

// Mean over the linears of each block.
std::map<int, double> MeanByBlock(const v1::Report& report,
                                  const std::function<double(const v1::LinearReport&)>& value);

}  // namespace calipress::report
