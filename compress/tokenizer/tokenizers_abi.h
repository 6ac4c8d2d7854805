#pragma once

#include <cstddef>
#include <cstdint>

// The C ABI of the Rust crate in compress/tokenizer/rust (src/lib.rs). Private to compress/tokenizer.
extern "C" {

struct CalipressTokenizer;     // opaque: tokenizers::Tokenizer
struct CalipressChatTemplate;  // opaque: ChatTemplate

// Owned by Rust; give back with calipress_tokenizers_free_bytes / _ids. `data` is null where `size` is 0.
struct CalipressTokenizersBytes {
  uint8_t* data;
  size_t size;
};
struct CalipressTokenizersIds {
  uint32_t* data;
  size_t size;
};

// Results of the functions below; on every code but kOk `error` holds a message.
enum CalipressTokenizersCode : int32_t {
  kCalipressTokenizersOk = 0,
  kCalipressTokenizersInvalid = 1,  // the tokenizer.json, the template, the messages or the ids are not usable
  kCalipressTokenizersNotUtf8 = 2,  // the text is not UTF-8
  kCalipressTokenizersDefect = 3,   // a panic
};

int32_t calipress_tokenizers_new(const uint8_t* json, size_t json_size, CalipressTokenizer** tokenizer,
                                 CalipressTokenizersBytes* error);
void calipress_tokenizers_free(CalipressTokenizer* tokenizer);
int32_t calipress_tokenizers_encode(const CalipressTokenizer* tokenizer, const uint8_t* text, size_t text_size,
                                    bool add_special_tokens, CalipressTokenizersIds* ids,
                                    CalipressTokenizersBytes* error);
int32_t calipress_tokenizers_decode(const CalipressTokenizer* tokenizer, const uint32_t* ids, size_t id_count,
                                    bool skip_special_tokens, CalipressTokenizersBytes* text,
                                    CalipressTokenizersBytes* error);
uint64_t calipress_tokenizers_vocabulary_size(const CalipressTokenizer* tokenizer);
int32_t calipress_tokenizers_ordinary_ids(const CalipressTokenizer* tokenizer, CalipressTokenizersIds* ids,
                                          CalipressTokenizersBytes* error);

int32_t calipress_chat_template_new(const uint8_t* source, size_t source_size, const uint8_t* variables,
                                    size_t variables_size, CalipressChatTemplate** chat_template,
                                    CalipressTokenizersBytes* error);
void calipress_chat_template_free(CalipressChatTemplate* chat_template);
int32_t calipress_chat_template_render(const CalipressChatTemplate* chat_template, const uint8_t* messages,
                                       size_t messages_size, CalipressTokenizersBytes* text,
                                       CalipressTokenizersBytes* error);

void calipress_tokenizers_free_bytes(CalipressTokenizersBytes bytes);
void calipress_tokenizers_free_ids(CalipressTokenizersIds ids);
}
