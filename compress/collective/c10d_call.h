#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace calipress::collective {

// What an exception of c10d, Gloo or torch becomes: OUT_OF_MEMORY for memory, PEER_LOST for everything else, since a
// transfer between two healthy ranks does not throw. `what` says what was being done. Call inside a catch block.
absl::Status StatusOfCurrentException(std::string_view what);

// Runs `body` and keeps exceptions inside this folder.
absl::Status CallC10d(std::string_view what, const std::function<void()>& body);

// The first line of an exception's text, without the C++ stack that torch puts below it.
std::string FirstLine(std::string_view text);

}  // namespace calipress::collective
