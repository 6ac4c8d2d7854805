#include "compress/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace calipress {
namespace {

// The scope's fields, already formatted, each with a leading space.
thread_local std::string scope_text;

bool NeedsQuotes(std::string_view value) {
  if (value.empty()) return true;
  for (const char c : value) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=') return true;
  }
  return false;
}

void Append(std::string* line, const LogField& field) {
  *line += ' ';
  *line += field.key;
  *line += '=';
  if (!NeedsQuotes(field.value)) {
    *line += field.value;
    return;
  }
  *line += '"';
  for (const char c : field.value) {
    if (c == '"' || c == '\\') *line += '\\';
    *line += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  *line += '"';
}

void Write(spdlog::level::level_enum level, std::string_view message, std::initializer_list<LogField> fields) {
  if (!spdlog::should_log(level)) return;
  std::string line;
  // One event, one line: a message from elsewhere may carry line breaks.
  for (const char c : message) line += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  for (const LogField& field : fields) Append(&line, field);
  line += scope_text;
  spdlog::log(level, "{}", line);
}

}  // namespace

void LogInfo(std::string_view message, std::initializer_list<LogField> fields) {
  Write(spdlog::level::info, message, fields);
}
void LogWarning(std::string_view message, std::initializer_list<LogField> fields) {
  Write(spdlog::level::warn, message, fields);
}
void LogError(std::string_view message, std::initializer_list<LogField> fields) {
  Write(spdlog::level::err, message, fields);
}
void LogDebug(std::string_view message, std::initializer_list<LogField> fields) {
  Write(spdlog::level::debug, message, fields);
}

bool StartLogging(std::string_view program, std::string_view level, std::string_view file) {
  const auto parsed = spdlog::level::from_str(std::string(level));
  if (parsed == spdlog::level::off && level != "off") return false;
  std::shared_ptr<spdlog::sinks::sink> sink;
  if (file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(std::string(file));
  }
  auto logger = std::make_shared<spdlog::logger>(std::string(program), sink);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %n %v", spdlog::pattern_time_type::utc);
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(logger);
  return true;
}

LogScope::LogScope(std::initializer_list<LogField> fields) : previous_length_(scope_text.size()) {
  for (const LogField& field : fields) Append(&scope_text, field);
}

LogScope::~LogScope() { scope_text.resize(previous_length_); }

}  // namespace calipress
