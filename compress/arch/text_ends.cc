#include "compress/arch/text_ends.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "nlohmann/json.hpp"

namespace calipress::arch {
namespace {

using nlohmann::json;

absl::Status Corrupt(std::string_view file, std::string_view what) {
  return PreconditionError(reason::kSourceModelCorrupt, absl::StrCat(std::string(file), " ", std::string(what)));
}

// The ids of one field, none where it is absent or null.
absl::StatusOr<std::vector<int64_t>> Ids(const json& object, std::string_view file, const std::string& field,
                                         int64_t vocabulary) {
  const auto found = object.find(field);
  std::vector<int64_t> ids;
  if (found == object.end() || found->is_null()) return ids;
  const json list = found->is_array() ? *found : json::array({*found});
  for (const json& entry : list) {
    // Some models have -1 for "none".
    if (entry.is_number_integer() && !entry.is_number_unsigned() && entry.get<int64_t>() < 0) continue;
    if (!entry.is_number_integer() || entry.get<uint64_t>() >= static_cast<uint64_t>(vocabulary)) {
      return Corrupt(
          file, absl::StrCat(field, " must be an id below the vocabulary's ", vocabulary, ", or a list of such ids"));
    }
    ids.push_back(entry.get<int64_t>());
  }
  return ids;
}

}  // namespace

absl::StatusOr<TextEnds> ParseTextEnds(std::string_view config, std::string_view generation_config,
                                       int64_t vocabulary) {
  TextEnds ends;
  for (const auto& [file, text] : {std::pair(std::string_view("generation_config.json:"), generation_config),
                                   std::pair(std::string_view("config.json:"), config)}) {
    if (text.empty()) continue;
    const json parsed = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) return Corrupt(file, "must hold a JSON object");
    const auto begin = Ids(parsed, file, "bos_token_id", vocabulary);
    if (!begin.ok()) return begin.status();
    const auto end = Ids(parsed, file, "eos_token_id", vocabulary);
    if (!end.ok()) return end.status();
    if (!ends.begin && !begin->empty()) ends.begin = begin->front();
    if (ends.end.empty()) ends.end = *end;
  }
  return ends;
}

}  // namespace calipress::arch
