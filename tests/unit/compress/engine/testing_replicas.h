#pragma once

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "compress/collective/group.h"

namespace calipress::engine::testing {

// Runs `body` once per rank, each on a thread with a group of its own, and waits for all.
inline void RunRanks(int size, const std::function<void(collective::Group& group)>& body) {
  // As the programs do: a peer that has left is no reason to end.
  std::signal(SIGPIPE, SIG_IGN);
  auto rendezvous = collective::Rendezvous::Listen(0);
  ASSERT_TRUE(rendezvous.ok()) << rendezvous.status();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      const at::NoGradGuard no_grad;
      collective::GroupOptions options;
      options.rendezvous = "127.0.0.1:" + std::to_string((*rendezvous)->port());
      options.key = "test";
      options.rank = rank;
      options.size = size;
      options.host = "127.0.0.1";
      auto group = collective::JoinGroup("gloo", options, CancellationToken());
      ASSERT_TRUE(group.ok()) << group.status();
      body(**group);
      // Nobody leaves while another rank still listens.
      ASSERT_TRUE((*group)->Barrier().ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace calipress::engine::testing
