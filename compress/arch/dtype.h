#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace calipress {

// Element types of safetensors files that calipress reads or writes.
enum class Dtype { kBF16, kF16, kF32, kF64, kI8, kU8, kI16, kI32, kI64, kBool, kF8E4M3, kF8E5M2 };

// "BF16", as in a safetensors header.
std::string_view DtypeName(Dtype dtype);
std::optional<Dtype> DtypeFromName(std::string_view name);
int64_t DtypeBytes(Dtype dtype);
bool IsFloating(Dtype dtype);

}  // namespace calipress
