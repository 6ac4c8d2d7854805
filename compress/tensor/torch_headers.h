// Precompiled for every folder that uses torch: the headers that cost seconds each.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
