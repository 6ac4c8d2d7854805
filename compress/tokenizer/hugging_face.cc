#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/tokenizer/tokenizer.h"
#include "compress/tokenizer/tokenizers_abi.h"

namespace calipress::tokenizer {
namespace {

const uint8_t* Data(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

std::string Take(CalipressTokenizersBytes bytes) {
  std::string text(reinterpret_cast<const char*>(bytes.data), bytes.size);
  calipress_tokenizers_free_bytes(bytes);
  return text;
}

std::vector<int64_t> Take(CalipressTokenizersIds ids) {
  std::vector<int64_t> wide(ids.data, ids.data + ids.size);
  calipress_tokenizers_free_ids(ids);
  return wide;
}

class HuggingFaceTokenizer : public Tokenizer {
 public:
  explicit HuggingFaceTokenizer(CalipressTokenizer* handle)
      : handle_(handle), vocabulary_size_(static_cast<int64_t>(calipress_tokenizers_vocabulary_size(handle))) {}
  ~HuggingFaceTokenizer() override { calipress_tokenizers_free(handle_); }
  HuggingFaceTokenizer(const HuggingFaceTokenizer&) = delete;
  HuggingFaceTokenizer& operator=(const HuggingFaceTokenizer&) = delete;

  absl::StatusOr<std::vector<int64_t>> Encode(std::string_view text, bool add_special_tokens) const override {
    CalipressTokenizersIds ids{};
    CalipressTokenizersBytes error{};
    switch (calipress_tokenizers_encode(handle_, Data(text), text.size(), add_special_tokens, &ids, &error)) {
      case kCalipressTokenizersOk:
        break;
      case kCalipressTokenizersNotUtf8:
        return UserError(reason::kInvalidCalibrationData,
                         absl::StrCat("the text is not valid UTF-8 (", Take(error),
                                      "); convert it to UTF-8, for example with iconv"));
      case kCalipressTokenizersInvalid:
        return PreconditionError(reason::kSourceModelCorrupt,
                                 absl::StrCat("the model's tokenizer cannot encode this text: ", Take(error),
                                              "; check tokenizer.json (its unk_token, for one)"));
      default:
        return DefectError(absl::StrCat("the tokenizer panicked while encoding: ", Take(error)));
    }
    return Take(ids);
  }

  absl::StatusOr<std::string> Decode(const std::vector<int64_t>& ids, bool skip_special_tokens) const override {
    std::vector<uint32_t> narrow;
    narrow.reserve(ids.size());
    for (const int64_t id : ids) {
      if (id < 0 || id > std::numeric_limits<uint32_t>::max()) {
        return UserError(reason::kInvalidCalibrationData,
                         absl::StrCat("token id ", id, " is outside [0, ", vocabulary_size_, ")"));
      }
      narrow.push_back(static_cast<uint32_t>(id));
    }
    CalipressTokenizersBytes text{};
    CalipressTokenizersBytes error{};
    switch (calipress_tokenizers_decode(handle_, narrow.data(), narrow.size(), skip_special_tokens, &text, &error)) {
      case kCalipressTokenizersOk:
        return Take(text);
      case kCalipressTokenizersInvalid:
      case kCalipressTokenizersNotUtf8:
        return PreconditionError(reason::kSourceModelCorrupt,
                                 absl::StrCat("the model's tokenizer cannot decode these ids: ", Take(error)));
      default:
        return DefectError(absl::StrCat("the tokenizer panicked while decoding: ", Take(error)));
    }
  }

  int64_t vocabulary_size() const override { return vocabulary_size_; }

  absl::StatusOr<std::vector<int64_t>> OrdinaryIds() const override {
    CalipressTokenizersIds ids{};
    CalipressTokenizersBytes error{};
    if (calipress_tokenizers_ordinary_ids(handle_, &ids, &error) == kCalipressTokenizersOk) return Take(ids);
    return DefectError(absl::StrCat("the tokenizer panicked while listing its tokens: ", Take(error)));
  }

 private:
  CalipressTokenizer* const handle_;  // owned
  const int64_t vocabulary_size_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view json) {
  CalipressTokenizer* handle = nullptr;
  CalipressTokenizersBytes error{};
  const int32_t code = calipress_tokenizers_new(Data(json), json.size(), &handle, &error);
  if (code == kCalipressTokenizersOk) return std::make_unique<HuggingFaceTokenizer>(handle);
  const std::string text = Take(error);
  if (code == kCalipressTokenizersDefect) {
    // A panic on somebody else's file: the file is what a user can change, so it is named first.
    return PreconditionError(reason::kSourceModelCorrupt,
                             absl::StrCat("tokenizer.json makes the tokenizers library fail: ", text));
  }
  return PreconditionError(reason::kSourceModelCorrupt,
                           absl::StrCat("tokenizer.json cannot be read: ", text,
                                        "; save the tokenizer again with transformers' save_pretrained"));
}

}  // namespace calipress::tokenizer
