#include "server/fleet/page_token.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "compress/base/digest.h"
#include "compress/base/error.h"

namespace calipress::fleet {
namespace {

// What the token is bound to, and its position, so that a changed token shows.
std::string Seal(int64_t before_order, std::vector<v1::CompressionJob::State> states) {
  std::sort(states.begin(), states.end());
  states.erase(std::unique(states.begin(), states.end()), states.end());
  std::string text = absl::StrCat("list ", before_order);
  for (const auto state : states) absl::StrAppend(&text, " ", static_cast<int>(state));
  return Sha256Of(text).substr(0, 16);
}

}  // namespace

std::string MakePageToken(int64_t before_order, const std::vector<v1::CompressionJob::State>& states) {
  return absl::BytesToHexString(absl::StrCat(before_order, ".", Seal(before_order, states)));
}

absl::StatusOr<int64_t> ReadPageToken(std::string_view token, const std::vector<v1::CompressionJob::State>& states) {
  const absl::Status refused =
      ViolationsError(reason::kInvalidRequest,
                      {{"page_token", "is not from a list with the same states; start again without a page_token"}});
  const bool hexadecimal = token.size() % 2 == 0 && token.size() < 128 &&
                           token.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (!hexadecimal) return refused;
  const std::string text = absl::HexStringToBytes(std::string(token));
  int64_t order = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), order);
  if (error != std::errc() || order <= 0) return refused;
  if (std::string_view(end, text.data() + text.size()) != "." + Seal(order, states)) return refused;
  return order;
}

}  // namespace calipress::fleet
