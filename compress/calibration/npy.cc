// The NumPy format (numpy/lib/format.py, versions 1 to 3): magic, version, header length, a Python dict literal, data.
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/calibration/source.h"

namespace calipress::calibration {
namespace {

static_assert(std::endian::native == std::endian::little, "ids are copied as they lie in memory");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxHeaderBytes = kTokenFileStartBytes - 12;

absl::Status NpyError(const std::string& message) {
  return UserError(reason::kInvalidCalibrationData, absl::StrCat("not a .npy of token ids: ", message));
}

struct Header {
  std::string descr;
  std::optional<bool> fortran_order;
  std::vector<int64_t> shape;
  bool has_shape = false;
};

// Parses the header's dict: the three keys in any order, each once, and nothing else.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  // False where the text has another form.
  bool Parse(Header* header) {
    if (!Skip('{')) return false;
    while (!Skip('}')) {
      std::string key;
      if (!String(&key) || !Skip(':') || !Value(key, header)) return false;
      if (Skip('}')) break;
      if (!Skip(',')) return false;
    }
    SkipSpace();
    return at_ == text_.size() && !header->descr.empty() && header->fortran_order && header->has_shape;
  }

 private:
  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  bool Skip(char c) {
    SkipSpace();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool Word(std::string_view word) {
    SkipSpace();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  bool String(std::string* value) {
    SkipSpace();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) return false;
    const size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) return false;
    *value = std::string(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value->find_first_of("\\\n") == std::string::npos;
  }

  bool Value(const std::string& key, Header* header) {
    if (key == "descr") return header->descr.empty() && String(&header->descr) && !header->descr.empty();
    if (key == "fortran_order") {
      if (header->fortran_order) return false;
      if (Word("True")) header->fortran_order = true;
      if (Word("False")) header->fortran_order = false;
      return header->fortran_order.has_value();
    }
    return key == "shape" && !std::exchange(header->has_shape, true) && Tuple(&header->shape);
  }

  // "(3, 4)", "(3,)" or "()".
  bool Tuple(std::vector<int64_t>* values) {
    if (!Skip('(')) return false;
    while (!Skip(')')) {
      SkipSpace();
      int64_t value = 0;
      const char* begin = text_.data() + at_;
      const auto [rest, error] = std::from_chars(begin, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0 || values->size() >= 32) return false;
      at_ += rest - begin;
      values->push_back(value);
      if (Skip(')')) return values->size() > 1;  // "(3)" is a number
      if (!Skip(',')) return false;
    }
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
};

// Finds the header text and where the data begin.
absl::Status Split(std::string_view bytes, std::string_view* header, size_t* data_begin) {
  if (bytes.substr(0, kMagic.size()) != kMagic)
    return NpyError("it does not begin with \\x93NUMPY; write it by np.save");
  if (bytes.size() < 10) return NpyError("it ends within its header");
  const int major = static_cast<uint8_t>(bytes[6]);
  const int minor = static_cast<uint8_t>(bytes[7]);
  if (major < 1 || major > 3 || minor != 0) {
    return NpyError(absl::StrCat("its version ", major, ".", minor, " is not known; versions 1.0 to 3.0 are"));
  }
  const size_t length_bytes = major == 1 ? 2 : 4;
  if (bytes.size() < 8 + length_bytes) return NpyError("it ends within its header");
  uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 8, length_bytes);
  if (length > kMaxHeaderBytes || length > bytes.size() - 8 - length_bytes) {
    return NpyError(absl::StrCat("its header says that it has ", length, " bytes, which it has not"));
  }
  *header = bytes.substr(8 + length_bytes, length);
  *data_begin = 8 + length_bytes + length;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenFileLayout> ParseNpyLayout(std::string_view start, int64_t file_bytes) {
  std::string_view text;
  size_t data_begin = 0;
  CALIPRESS_RETURN_IF_ERROR(Split(start, &text, &data_begin));
  Header header;
  if (!HeaderParser(text).Parse(&header)) return NpyError("its header is malformed; write it by np.save");
  const bool wide = header.descr == "<i8";
  if (!wide && header.descr != "<i4") {
    return NpyError(absl::StrCat("its type is '", header.descr.substr(0, 20),
                                 "'; ids are little-endian int64 or int32: array.astype('int64')"));
  }
  if (*header.fortran_order) return NpyError("it is in Fortran order; np.ascontiguousarray turns it round");
  if (header.shape.size() != 2) {
    return NpyError(absl::StrCat("it has ", header.shape.size(), " dimensions; two are wanted: [sequences, length]"));
  }
  TokenFileLayout layout{.sequences = header.shape[0],
                         .length = header.shape[1],
                         .id_bytes = wide ? 8 : 4,
                         .data_begin = static_cast<int64_t>(data_begin)};
  if (layout.sequences == 0 || layout.length == 0) return NpyError("it has no ids");
  const int64_t limit = std::numeric_limits<int64_t>::max() / layout.id_bytes;
  const int64_t data_bytes = file_bytes - layout.data_begin;
  if (layout.sequences > limit / layout.length || layout.sequences * layout.length * layout.id_bytes != data_bytes) {
    return NpyError(absl::StrCat("its shape (", layout.sequences, ", ", layout.length, ") does not go with its ",
                                 data_bytes, " bytes of data; it may be cut off"));
  }
  return layout;
}

TokenMatrix ReadTokenRows(std::string_view bytes, const TokenFileLayout& layout) {
  const std::string_view data = bytes.substr(layout.data_begin);
  TokenMatrix tokens{.sequences = layout.sequences, .length = layout.length, .ids = {}};
  tokens.ids.resize(tokens.sequences * tokens.length);
  if (layout.id_bytes == 8) {
    std::memcpy(tokens.ids.data(), data.data(), tokens.ids.size() * 8);
  } else {
    for (size_t i = 0; i < tokens.ids.size(); ++i) {
      int32_t id;
      std::memcpy(&id, data.data() + i * 4, 4);
      tokens.ids[i] = id;
    }
  }
  return tokens;
}

absl::StatusOr<TokenMatrix> ParseNpy(std::string_view bytes) {
  CALIPRESS_ASSIGN_OR_RETURN(const TokenFileLayout layout, ParseNpyLayout(bytes, static_cast<int64_t>(bytes.size())));
  return ReadTokenRows(bytes, layout);
}

std::string FormatNpy(const TokenMatrix& tokens) {
  std::string header = absl::StrCat("{'descr': '<i8', 'fortran_order': False, 'shape': (", tokens.sequences, ", ",
                                    tokens.length, "), }");
  // Data begin at a multiple of 64, as numpy writes them.
  constexpr size_t kPrefix = 10;
  header.append(63 - (kPrefix + header.size()) % 64, ' ');
  header.push_back('\n');
  std::string bytes(kMagic);
  bytes.append({'\x01', '\x00', static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8)});
  bytes.append(header);
  bytes.append(reinterpret_cast<const char*>(tokens.ids.data()), tokens.ids.size() * sizeof(int64_t));
  return bytes;
}

}  // namespace calipress::calibration
