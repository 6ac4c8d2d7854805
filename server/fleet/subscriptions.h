#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace calipress::fleet {

// Who wants to hear of which job. Thread-safe.
class Subscriptions {
 public:
  // `on_news` is called by Notify until the returned object is gone, whose destructor waits for a running call (but not
  // for itself, when the call destroys it). Outliving the Subscriptions is fine.
  [[nodiscard]] std::shared_ptr<void> Add(const std::string& name, std::function<void()> on_news);

  // Calls everyone who asked for one of these, on this thread. Call it without locks held.
  void Notify(const std::vector<std::string>& names);

 private:
  struct Listener;
  struct Table;
  std::shared_ptr<Table> table_ = MakeTable();
  static std::shared_ptr<Table> MakeTable();
};

}  // namespace calipress::fleet
