#include "server/fleet/subscriptions.h"

#include <utility>

namespace calipress::fleet {

struct Subscriptions::Listener {
  // Recursive, so that a call may end its own subscription.
  std::recursive_mutex mutex;
  bool ended = false;
  std::function<void()> on_news;
};

struct Subscriptions::Table {
  std::mutex mutex;
  std::multimap<std::string, std::shared_ptr<Listener>> listeners;
};

std::shared_ptr<Subscriptions::Table> Subscriptions::MakeTable() { return std::make_shared<Table>(); }

std::shared_ptr<void> Subscriptions::Add(const std::string& name, std::function<void()> on_news) {
  auto listener = std::make_shared<Listener>();
  listener->on_news = std::move(on_news);
  {
    std::lock_guard lock(table_->mutex);
    table_->listeners.emplace(name, listener);
  }
  return std::shared_ptr<void>(listener.get(), [listener, name, table = table_](void*) {
    {
      std::lock_guard lock(table->mutex);
      const auto [begin, end] = table->listeners.equal_range(name);
      for (auto it = begin; it != end; ++it) {
        if (it->second != listener) continue;
        table->listeners.erase(it);
        break;
      }
    }
    std::lock_guard lock(listener->mutex);
    listener->ended = true;
  });
}

void Subscriptions::Notify(const std::vector<std::string>& names) {
  std::vector<std::shared_ptr<Listener>> called;
  {
    std::lock_guard lock(table_->mutex);
    for (const std::string& name : names) {
      const auto [begin, end] = table_->listeners.equal_range(name);
      for (auto it = begin; it != end; ++it) called.push_back(it->second);
    }
  }
  for (const auto& listener : called) {
    std::lock_guard lock(listener->mutex);
    if (!listener->ended) listener->on_news();
  }
}

}  // namespace calipress::fleet
