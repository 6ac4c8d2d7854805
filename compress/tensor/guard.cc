#include "compress/tensor/guard.h"

#include <exception>
#include <new>
#include <string>

#include <c10/util/Exception.h>

#include "compress/base/error.h"

namespace calipress::tensor {
namespace {

// The first line: what torch adds after it is a C++ stack.
std::string FirstLine(std::string_view text) {
  size_t end = text.find('\n');
  return std::string(text.substr(0, end));
}

std::string Message(std::string_view what, std::string_view cause, std::string_view advice) {
  std::string message(what);
  message += ": ";
  message += FirstLine(cause);
  if (!advice.empty()) {
    message += "; ";
    message += advice;
  }
  return message;
}

absl::Status OutOfMemory(std::string_view what, std::string_view cause) {
  return MakeError(absl::StatusCode::kResourceExhausted, reason::kOutOfMemory, ErrorClass::kEnvironment,
                   Message(what, cause, "use more workers, fewer calibration samples or a machine with more memory"));
}

absl::Status PeerLost(std::string_view what, std::string_view cause) {
  return EnvironmentError(reason::kPeerLost, Message(what, cause, "a worker of the gang is gone or unreachable"));
}

}  // namespace

absl::Status Guard(std::string_view what, const std::function<absl::Status()>& body) {
  try {
    return body();
  } catch (const c10::OutOfMemoryError& error) {
    return OutOfMemory(what, error.what_without_backtrace());
  } catch (const c10::DistError& error) {  // with its kinds: backend, store, network
    return PeerLost(what, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    std::string_view text = error.what_without_backtrace();
    // The CPU allocator throws a plain Error.
    if (text.find("can't allocate memory") != std::string_view::npos ||
        text.find("not enough memory") != std::string_view::npos) {
      return OutOfMemory(what, text);
    }
    return DefectError(Message(what, text, ""));
  } catch (const std::bad_alloc& error) {
    return OutOfMemory(what, error.what());
  } catch (const std::exception& error) {
    std::string_view text = error.what();
    // Gloo throws its own IoException, which is a std::runtime_error whose header we do not have.
    if (text.find("gloo/") != std::string_view::npos ||
        text.find("Connection closed by peer") != std::string_view::npos ||
        text.find("Connection reset by peer") != std::string_view::npos) {
      return PeerLost(what, text);
    }
    return DefectError(Message(what, text, ""));
  } catch (...) {
    return DefectError(Message(what, "an exception that is not a std::exception", ""));
  }
}

}  // namespace calipress::tensor
