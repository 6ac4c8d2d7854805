#pragma once

#include <memory>

#include "compress/collective/group.h"

namespace calipress::collective {

// One rank alone: sums and barriers are done already, and there is nobody to send to.
std::unique_ptr<Group> MakeSoloGroup();

}  // namespace calipress::collective
