#include "compress/base/thread.h"

#include <pthread.h>

#include <string>

namespace calipress {

std::jthread StartThread(std::string_view name, std::function<void()> body) {
  return std::jthread([name = std::string(name.substr(0, 15)), body = std::move(body)] {
    pthread_setname_np(pthread_self(), name.c_str());
    body();
  });
}

}  // namespace calipress
