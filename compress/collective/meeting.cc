#include "compress/collective/meeting.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <charconv>
#include <string>
#include <thread>
#include <vector>

#include "compress/base/clock.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/collective/c10d_call.h"

namespace calipress::collective {
namespace {

using std::chrono::milliseconds;

// One try of the store's connection: short, so that cancellation is seen between tries.
constexpr milliseconds kConnectTry{1000};
// The store answers at once or its process is in trouble.
constexpr milliseconds kStoreAnswer{10000};
constexpr milliseconds kPoll{20};
constexpr milliseconds kLongestConnect{20000};

std::string ArrivalKey(int rank) { return "arrived/" + std::to_string(rank); }

absl::StatusOr<c10::intrusive_ptr<c10d::Store>> Connect(const GroupOptions& options, const Stopwatch& watch,
                                                        const CancellationToken& cancellation) {
  std::string host;
  int port = 0;
  if (!SplitHostPort(options.rendezvous, &host, &port)) {
    return DefectError("rendezvous address \"" + options.rendezvous + "\" is not host:port");
  }
  c10d::TCPStoreOptions store_options;
  store_options.port = static_cast<uint16_t>(port);
  store_options.waitWorkers = false;
  store_options.timeout = kConnectTry;
  for (;;) {
    if (cancellation.cancelled()) return cancellation.status();
    c10::intrusive_ptr<c10d::Store> store;
    const absl::Status status = CallC10d("cannot reach the rendezvous store " + options.rendezvous + " of rank 0",
                                         [&] { store = c10::make_intrusive<c10d::TCPStore>(host, store_options); });
    if (status.ok()) {
      store->setTimeout(kStoreAnswer);
      return store;
    }
    if (watch.Seconds() > options.timeout_seconds) return status;
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace

bool SplitHostPort(const std::string& text, std::string* host, int* port) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  *host = text.substr(0, colon);
  if (host->front() == '[') {
    if (host->back() != ']') return false;
    *host = host->substr(1, host->size() - 2);
  }
  const char* const begin = text.data() + colon + 1;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, *port);
  return error == std::errc() && stop == end && *port > 0 && *port < 65536 && !host->empty();
}

absl::StatusOr<Meeting> Meet(const GroupOptions& options, const CancellationToken& cancellation) {
  const Stopwatch watch;
  c10::intrusive_ptr<c10d::Store> connection;
  CALIPRESS_ASSIGN_OR_RETURN(connection, Connect(options, watch, cancellation));
  auto store = c10::make_intrusive<c10d::PrefixStore>("calipress/" + options.key, connection);

  const std::string what = "waiting for the other ranks at " + options.rendezvous;
  CALIPRESS_RETURN_IF_ERROR(CallC10d(what, [&] { store->set(ArrivalKey(options.rank), std::string("1")); }));
  for (;;) {
    if (cancellation.cancelled()) return cancellation.status();
    std::vector<int> missing;
    CALIPRESS_RETURN_IF_ERROR(CallC10d(what, [&] {
      for (int rank = 0; rank < options.size; ++rank) {
        if (!store->check({ArrivalKey(rank)})) missing.push_back(rank);
      }
    }));
    if (missing.empty()) break;
    if (watch.Seconds() > options.timeout_seconds) {
      std::string ranks;
      for (const int rank : missing) ranks += (ranks.empty() ? "" : ", ") + std::to_string(rank);
      return EnvironmentError(reason::kPeerLost, "of " + std::to_string(options.size) + " ranks, " + ranks +
                                                     " did not come to the rendezvous " + options.rendezvous +
                                                     " in time; is the address reachable from every worker?");
    }
    std::this_thread::sleep_for(kPoll);
  }
  return Meeting{options, store, kLongestConnect};
}

}  // namespace calipress::collective
