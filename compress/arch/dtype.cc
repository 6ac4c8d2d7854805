#include "compress/arch/dtype.h"

#include <array>

namespace calipress {
namespace {

struct DtypeRow {
  Dtype dtype;
  std::string_view name;  // as in a safetensors header
  int64_t bytes;
  bool floating;
};

constexpr std::array<DtypeRow, 12> kDtypes = {{
    {Dtype::kBF16, "BF16", 2, true},
    {Dtype::kF16, "F16", 2, true},
    {Dtype::kF32, "F32", 4, true},
    {Dtype::kF64, "F64", 8, true},
    {Dtype::kI8, "I8", 1, false},
    {Dtype::kU8, "U8", 1, false},
    {Dtype::kI16, "I16", 2, false},
    {Dtype::kI32, "I32", 4, false},
    {Dtype::kI64, "I64", 8, false},
    {Dtype::kBool, "BOOL", 1, false},
    {Dtype::kF8E4M3, "F8_E4M3", 1, true},
    {Dtype::kF8E5M2, "F8_E5M2", 1, true},
}};

const DtypeRow& Row(Dtype dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.dtype == dtype) return row;
  }
  return kDtypes[0];  // not reached: the table holds every enumerator (dtype_test)
}

}  // namespace

std::string_view DtypeName(Dtype dtype) { return Row(dtype).name; }

std::optional<Dtype> DtypeFromName(std::string_view name) {
  for (const DtypeRow& row : kDtypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

int64_t DtypeBytes(Dtype dtype) { return Row(dtype).bytes; }

bool IsFloating(Dtype dtype) { return Row(dtype).floating; }

}  // namespace calipress
