#include "server/api/work_queue.h"

#include <atomic>
#include <future>

#include "gtest/gtest.h"

namespace calipress::api {
namespace {

TEST(WorkQueue, RefusesWhatIsTooMuchAndEndsWhatWaits) {
  std::promise<void> started, go_on;
  std::atomic<int> run = 0, dropped = 0;
  WorkQueue queue("test", 1, 2);
  ASSERT_TRUE(queue.Add([&](bool) {
    started.set_value();
    go_on.get_future().wait();
    ++run;
  }));
  started.get_future().wait();
  const auto count = [&](bool runs) { ++(runs ? run : dropped); };
  EXPECT_TRUE(queue.Add(count));
  EXPECT_TRUE(queue.Add(count));
  EXPECT_FALSE(queue.Add(count));
  // Stop hears of the waiting ones before it waits for the running one.
  std::thread stopper([&] { queue.Stop(); });
  while (dropped < 2) std::this_thread::yield();
  EXPECT_EQ(run, 0);
  go_on.set_value();
  stopper.join();
  EXPECT_EQ(run, 1);
  EXPECT_FALSE(queue.Add(count));
}

}  // namespace
}  // namespace calipress::api
