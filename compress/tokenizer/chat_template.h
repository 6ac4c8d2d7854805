#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace calipress::tokenizer {

// What transformers' apply_chat_template makes of a conversation, as text. `strftime_now` is undefined, so that a text
// does not depend on the day: templates that ask whether it is there take their own fixed date. Thread-safe.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // `messages` is a JSON list of objects with "role" and "content"; INVALID_CALIBRATION_DATA with the template's own
  // words where it refuses them (two users in a row) or fails.
  virtual absl::StatusOr<std::string> Render(std::string_view messages) const = 0;

  // From the texts of chat_template.jinja (which wins) and tokenizer_config.json, which has the special tokens that
  // templates name; an empty text stands for a file that is not there. SOURCE_MODEL_CORRUPT where there is no template,
  // one that is not Jinja as Hugging Face runs it, or a tokenizer_config.json that is no JSON. Untrusted texts.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> FromFiles(std::string_view jinja,
                                                                 std::string_view tokenizer_config);
};

}  // namespace calipress::tokenizer
