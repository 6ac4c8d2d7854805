#pragma once

#include <optional>
#include <string>

#include "calipress/v1/recipe.pb.h"
#include "compress/recipe/n_of_m.h"

namespace calipress::recipe {

// The layer-wise ratios of a step; null: every block has the same.
const v1::Owl* OwlOf(const v1::Step& step);

// True where some step has them.
bool HasOwl(const v1::Recipe& recipe);

// Where the recipe gives no lambda. Of a pattern: what it has room for, at most 2.
double DefaultLambda(const std::optional<NOfM>& pattern);

// The most by which N of the pattern may change either way: every block keeps some and loses some.
int PatternRoom(const NOfM& pattern);

// A resolved step as one block has it: with a share of its own, and a pattern where the step has one.
v1::Step WithRatio(v1::Step step, double sparsity, const std::string& pattern);

}  // namespace calipress::recipe
