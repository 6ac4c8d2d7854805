#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// A fuzz target with seeds. gcc has no libFuzzer, so every target is also a program of its own: a seeded loop of
// mutations (flips, cuts, splices, numbers that overflow) over the seeds, the same on every run. With clang,
// -fsanitize=fuzzer and LLVMFuzzerTestOneInput do the driving.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace calipress::fuzz {

// Runs the target over mutations of `seeds` for some seconds (argument 1, default 4) or until something crashes; the
// input at hand is left in a file named crash-input then.
int Drive(int argc, char** argv, const std::vector<std::string>& seeds);

}  // namespace calipress::fuzz
