#include "compress/tokenizer/chat_template.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/base/utf8.h"
#include "compress/tokenizer/tokenizers_abi.h"
#include "nlohmann/json.hpp"

namespace calipress::tokenizer {
namespace {

using nlohmann::json;

// Of an error's text that is shown; a template may put a whole conversation into it.
constexpr size_t kShownBytes = 300;

const uint8_t* Data(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

std::string Take(CalipressTokenizersBytes bytes) {
  std::string text(reinterpret_cast<const char*>(bytes.data), bytes.size);
  calipress_tokenizers_free_bytes(bytes);
  return text;
}

std::string TakeShown(CalipressTokenizersBytes bytes) { return BoundedText(Take(bytes), kShownBytes); }

absl::Status Corrupt(const std::string& message) { return PreconditionError(reason::kSourceModelCorrupt, message); }

class JinjaChatTemplate : public ChatTemplate {
 public:
  explicit JinjaChatTemplate(CalipressChatTemplate* handle) : handle_(handle) {}
  ~JinjaChatTemplate() override { calipress_chat_template_free(handle_); }
  JinjaChatTemplate(const JinjaChatTemplate&) = delete;
  JinjaChatTemplate& operator=(const JinjaChatTemplate&) = delete;

  absl::StatusOr<std::string> Render(std::string_view messages) const override {
    CalipressTokenizersBytes text{};
    CalipressTokenizersBytes error{};
    switch (calipress_chat_template_render(handle_, Data(messages), messages.size(), &text, &error)) {
      case kCalipressTokenizersOk:
        return Take(text);
      case kCalipressTokenizersDefect:
        return DefectError(absl::StrCat("the chat template panicked: ", TakeShown(error)));
      default:
        return UserError(reason::kInvalidCalibrationData,
                         absl::StrCat("the model's chat template refuses the conversation: ", TakeShown(error)));
    }
  }

 private:
  CalipressChatTemplate* const handle_;  // owned
};

// A token is written as its text, or as an object that has it under "content".
std::string TokenText(const json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (!token.is_object()) return "";
  const auto content = token.find("content");
  return content != token.end() && content->is_string() ? content->get<std::string>() : "";
}

// {"bos_token": "<s>", ...}: what a template may name.
json SpecialTokens(const json& config) {
  json tokens = json::object();
  for (const auto& [name, value] : config.items()) {
    if (name.size() < 6 || name.compare(name.size() - 6, 6, "_token") != 0) continue;
    const std::string text = TokenText(value);
    if (!text.empty()) tokens[name] = text;
  }
  return tokens;
}

// "chat_template" is a text, or a list of {name, template}, of which the one named "default" is meant.
absl::StatusOr<std::string> TemplateOf(const json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) {
    return Corrupt(
        "the model has no chat template, which instructions need: neither a chat_template.jinja nor a chat_template in "
        "its tokenizer_config.json. Add one, or give the conversations as text");
  }
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {
    for (const json& entry : *found) {
      if (!entry.is_object() || entry.value("name", json()) != "default") continue;
      const json text = entry.value("template", json());
      if (text.is_string()) return text.get<std::string>();
    }
    return Corrupt("tokenizer_config.json has several chat templates and none that is named default");
  }
  return Corrupt("chat_template in tokenizer_config.json is neither a text nor a list of templates");
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::FromFiles(std::string_view jinja,
                                                                      std::string_view tokenizer_config) {
  json config = json::object();
  if (!tokenizer_config.empty()) {
    config = json::parse(tokenizer_config, nullptr, /*allow_exceptions=*/false);
    if (!config.is_object()) return Corrupt("tokenizer_config.json is not a JSON object");
  }
  std::string source(jinja);
  if (source.empty()) {
    CALIPRESS_ASSIGN_OR_RETURN(source, TemplateOf(config));
  }
  const std::string variables = SpecialTokens(config).dump(-1, ' ', false, json::error_handler_t::replace);
  CalipressChatTemplate* handle = nullptr;
  CalipressTokenizersBytes error{};
  const int32_t code =
      calipress_chat_template_new(Data(source), source.size(), Data(variables), variables.size(), &handle, &error);
  if (code == kCalipressTokenizersOk) return std::make_unique<JinjaChatTemplate>(handle);
  return Corrupt(absl::StrCat("the model's chat template cannot be read: ", TakeShown(error)));
}

}  // namespace calipress::tokenizer
