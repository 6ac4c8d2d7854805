// A chat template, a zero byte, and a row of a .jsonl that goes through it.
#include "compress/calibration/json_field.h"
#include "compress/tokenizer/chat_template.h"
#include "tests/fuzz/mutation_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\0');
  const auto chat = calipress::tokenizer::ChatTemplate::FromFiles(text.substr(0, end), "{\"bos_token\": \"<s>\"}");
  const std::string line = end == std::string::npos ? text : text.substr(end + 1);
  const auto messages = calipress::calibration::MessagesOfJsonLine(line, "messages");
  if (chat.ok() && messages.ok()) (void)(*chat)->Render(*messages);
  (void)calipress::tokenizer::ChatTemplate::FromFiles("", line);
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
int main(int argc, char** argv) {
  const std::string row =
      "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"tool_calls\": [{\"x\": "
      "1.5}]}], \"chat_template\": [{\"name\": \"default\", \"template\": \"x\"}]}";
  const std::string zero(1, '\0');
  return calipress::fuzz::Drive(
      argc, argv,
      {"{{ bos_token }}{% for m in messages %}{{ m['role'] + ':' + m.content | trim }}{% endfor %}" + zero + row,
       "{%- set ns = namespace(i=0) %}{% for m in messages[::-1] %}{% generation %}{{ m | tojson(indent=2) }}"
       "{% endgeneration %}{% if loop.last %}{% break %}{% endif %}{% endfor %}" +
           zero + row});
}
#endif
