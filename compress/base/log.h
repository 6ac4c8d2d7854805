#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace calipress {

// A key and its value in a log line. Never a secret, never prompt or calibration text.
struct LogField {
  LogField(std::string_view key, std::string_view value) : key(key), value(value) {}
  LogField(std::string_view key, const char* value) : key(key), value(value) {}
  LogField(std::string_view key, const std::string& value) : key(key), value(value) {}
  template <typename T>
  requires std::is_arithmetic_v<T> LogField(std::string_view key, T value) : key(key), value(std::to_string(value)) {}

  std::string key;
  std::string value;
};

// Lines are `time level program message key=value ...` on standard error. Thread-safe.
void LogInfo(std::string_view message, std::initializer_list<LogField> fields = {});
void LogWarning(std::string_view message, std::initializer_list<LogField> fields = {});
void LogError(std::string_view message, std::initializer_list<LogField> fields = {});
void LogDebug(std::string_view message, std::initializer_list<LogField> fields = {});

// Call once in main. `level`: trace, debug, info, warning, error or off. Returns false for any other word. With a
// file, lines go there instead of standard error.
bool StartLogging(std::string_view program, std::string_view level, std::string_view file = {});

// Fields put on every line of this thread while the object lives: job, stage, attempt, worker.
class LogScope {
 public:
  explicit LogScope(std::initializer_list<LogField> fields);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

 private:
  size_t previous_length_;
};

}  // namespace calipress
