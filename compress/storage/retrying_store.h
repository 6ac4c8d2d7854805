#pragma once

#include <functional>
#include <memory>

#include "compress/storage/object_store.h"

namespace calipress::storage {

// How long passing failures are borne.
struct RetryPolicy {
  int attempts = 4;
  double first_delay_seconds = 0.25;  // doubles each time
  // No further try once this much time has gone: below it, a server that refuses is asked a few times; one that hangs
  // until its own time limit is not asked again.
  double budget_seconds = 6;
  // Replaced in tests.
  std::function<void(double seconds)> sleep;
};

// Repeats what failed with STORAGE_UNAVAILABLE and can be repeated: Open, ReadAt, Create, Stat, List, DeleteFolder.
// Not: Write and Close (a stream), Move and Delete (a lost answer would make the second try fail).
std::unique_ptr<ObjectStore> MakeRetryingStore(std::unique_ptr<ObjectStore> store, RetryPolicy policy = {});

}  // namespace calipress::storage
