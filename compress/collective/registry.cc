#include "compress/collective/registry.h"

#include <map>
#include <mutex>

#include "compress/collective/gloo_group.h"

namespace calipress::collective {
namespace {

struct Backends {
  std::mutex mutex;
  std::map<std::string, BackendFactory> factories{{"gloo", &JoinGloo}};
};

Backends& All() {
  static auto* const backends = new Backends;
  return *backends;
}

}  // namespace

void RegisterBackend(const std::string& name, BackendFactory factory) {
  std::lock_guard lock(All().mutex);
  All().factories[name] = std::move(factory);
}

BackendFactory FindBackend(const std::string& name) {
  std::lock_guard lock(All().mutex);
  const auto found = All().factories.find(name);
  return found == All().factories.end() ? BackendFactory() : found->second;
}

}  // namespace calipress::collective
