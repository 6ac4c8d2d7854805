#include "compress/base/version.h"

namespace calipress {

std::string_view BuildRevision() { return CALIPRESS_REVISION; }

}  // namespace calipress
