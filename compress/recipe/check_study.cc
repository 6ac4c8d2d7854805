#include "compress/recipe/part_checks.h"

namespace calipress::recipe {

void CheckStudy(const v1::Recipe& recipe, const std::string& path, const Refuse& refuse) {
  // Not available yet.
  if (recipe.has_study()) refuse(path, "is not available yet; remove it");
}

}  // namespace calipress::recipe
