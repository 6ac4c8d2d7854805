#pragma once

#include <functional>
#include <string_view>
#include <thread>

namespace calipress {

// Starts a thread whose name shows in debuggers and `top -H` (15 characters count). The one place that starts threads;
// the result joins in its destructor, so none is ever detached.
std::jthread StartThread(std::string_view name, std::function<void()> body);

}  // namespace calipress
