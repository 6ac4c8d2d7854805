#include <algorithm>
#include <string>

#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

struct PresetFile {
  const char* name;
  const char* text;
};

constexpr PresetFile kPresetFiles[] = {
#include "preset_files.inc"
};

// The first line, "# 4-bit GPTQ ...", without its mark.
std::string Summary(std::string_view text) {
  std::string_view line = text.substr(0, text.find('\n'));
  const size_t begin = line.find_first_not_of("# ");
  return begin == std::string_view::npos ? "" : std::string(line.substr(begin));
}

}  // namespace

const std::vector<Preset>& Presets() {
  static const auto& presets = *[] {
    auto* list = new std::vector<Preset>;
    for (const PresetFile& file : kPresetFiles) list->push_back({file.name, Summary(file.text), file.text});
    std::sort(list->begin(), list->end(), [](const Preset& a, const Preset& b) { return a.name < b.name; });
    return list;
  }();
  return presets;
}

}  // namespace calipress::recipe
