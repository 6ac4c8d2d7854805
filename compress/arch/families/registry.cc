#include <array>

#include "compress/arch/families/family.h"

namespace calipress::arch {
namespace {

// Sorted by model_type.
constexpr std::array<const Family*, 4> kFamilies = {&kLlama, &kMistral, &kQwen2, &kQwen3};

}  // namespace

std::span<const Family* const> AllFamilies() { return kFamilies; }

const Family* FindFamily(std::string_view model_type) {
  for (const Family* family : kFamilies) {
    if (family->model_type == model_type) return family;
  }
  return nullptr;
}

const Family* FamilyByName(std::string_view name) {
  for (const Family* family : kFamilies) {
    if (family->name == name) return family;
  }
  return nullptr;
}

std::vector<std::string> KnownModelTypes() {
  std::vector<std::string> types;
  types.reserve(kFamilies.size());
  for (const Family* family : kFamilies) types.emplace_back(family->model_type);
  return types;
}

}  // namespace calipress::arch
