#include "compress/collective/c10d_call.h"

#include <c10/util/Exception.h>

#include <exception>
#include <new>

#include "compress/base/error.h"

namespace calipress::collective {

std::string FirstLine(std::string_view text) {
  const size_t end = text.find('\n');
  std::string line(text.substr(0, end));
  constexpr size_t kLongest = 300;
  if (line.size() > kLongest) line = line.substr(0, kLongest) + "...";
  return line;
}

absl::Status StatusOfCurrentException(std::string_view what) {
  const std::string context(what);
  try {
    throw;
  } catch (const c10::OutOfMemoryError& e) {
    return EnvironmentError(reason::kOutOfMemory, context + ": " + FirstLine(e.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return EnvironmentError(reason::kOutOfMemory, context + ": no memory left");
  } catch (const c10::Error& e) {
    return EnvironmentError(reason::kPeerLost, context + ": " + FirstLine(e.what_without_backtrace()));
  } catch (const std::exception& e) {
    return EnvironmentError(reason::kPeerLost, context + ": " + FirstLine(e.what()));
  } catch (...) {
    return DefectError(context + ": an exception of unknown type");
  }
}

absl::Status CallC10d(std::string_view what, const std::function<void()>& body) {
  try {
    body();
    return absl::OkStatus();
  } catch (...) {
    return StatusOfCurrentException(what);
  }
}

}  // namespace calipress::collective
