// quantization_config of checkpoints in the gptq and awq formats, from whoever wrote them.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/base/status_macros.h"
#include "compress/checkpoint/corrupt.h"
#include "compress/checkpoint/formats/config_entry.h"
#include "re2/re2.h"

namespace calipress::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kNamesLimit = 100'000, kNameLimit = 1000;
constexpr int64_t kGroupLimit = 1 << 20;

absl::Status Unsupported(const std::string& what) {
  return PreconditionError(reason::kUnsupportedModel, absl::StrCat("quantization_config: ", what,
                                                                   "; docs/formats/gptq-awq.md has what calipress "
                                                                   "reads of gptq and awq"));
}

absl::StatusOr<int64_t> Integer(const Json& entry, const char* name) {
  const auto found = entry.find(name);
  if (found == entry.end() || !found->is_number_integer()) return Unsupported(absl::StrCat(name, " is missing"));
  if (found->is_number_unsigned() && found->get<uint64_t>() > static_cast<uint64_t>(kGroupLimit)) {
    return Unsupported(absl::StrCat(name, " is too large"));
  }
  return found->get<int64_t>();
}

absl::StatusOr<bool> Boolean(const Json& entry, const char* name, bool otherwise) {
  const auto found = entry.find(name);
  if (found == entry.end() || found->is_null()) return otherwise;
  if (!found->is_boolean()) return Unsupported(absl::StrCat(name, " is neither true nor false"));
  return found->get<bool>();
}

absl::Status ReadGroupSize(const Json& entry, QuantizationScheme* scheme) {
  CALIPRESS_ASSIGN_OR_RETURN(scheme->group_size, Integer(entry, "group_size"));
  if (scheme->group_size != -1 && scheme->group_size < 1) return Unsupported("group_size is neither -1 nor positive");
  *scheme = scheme->Normalized();
  return absl::OkStatus();
}

// A list of names, or of such lists.
absl::Status ReadNames(const Json& list, const char* field, std::vector<std::string>* names) {
  if (!list.is_array()) return Unsupported(absl::StrCat(field, " is not a list"));
  for (const Json& item : list) {
    if (item.is_array()) {
      for (const Json& inner : item) {
        if (!inner.is_string()) return Unsupported(absl::StrCat(field, " has an entry that is no text"));
      }
      CALIPRESS_RETURN_IF_ERROR(ReadNames(item, field, names));
      continue;
    }
    if (!item.is_string() || item.get_ref<const std::string&>().empty() ||
        item.get_ref<const std::string&>().size() > kNameLimit || names->size() >= kNamesLimit) {
      return Unsupported(absl::StrCat(field, " has an entry that is not a short text"));
    }
    names->push_back(item.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status ReadTargets(const Json& entry, QuantizationConfig* config) {
  std::vector<std::string>& targets = config->targets.emplace_back();
  const auto inside = entry.find("modules_in_block_to_quantize");
  if (inside == entry.end() || inside->is_null()) {
    targets = {"Linear"};
    return absl::OkStatus();
  }
  CALIPRESS_RETURN_IF_ERROR(ReadNames(*inside, "modules_in_block_to_quantize", &targets));
  for (std::string& target : targets) target = absl::StrCat("re:.*\\.", RE2::QuoteMeta(target), "$");
  return absl::OkStatus();
}

// GPTQModel's rules: "-:<expression>" leaves modules dense.
absl::Status ReadRules(const Json& entry, QuantizationConfig* config) {
  const auto rules = entry.find("dynamic");
  if (rules == entry.end() || rules->is_null()) return absl::OkStatus();
  if (!rules->is_object() || rules->size() > 1000) return Unsupported("dynamic is not a short list of rules");
  for (const auto& [rule, options] : rules->items()) {
    if (!rule.starts_with("-:") || rule.size() > kNameLimit) {
      return Unsupported(absl::StrCat("dynamic gives ", Printable(rule), " options of its own"));
    }
    if (!RE2(rule.substr(2), RE2::Quiet).ok()) {
      return Unsupported(absl::StrCat("dynamic has an invalid expression, ", Printable(rule)));
    }
    config->ignore.push_back("re:" + rule.substr(2));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadGptqEntry(const Json& entry, QuantizationConfig* config) {
  QuantizationScheme scheme;
  CALIPRESS_ASSIGN_OR_RETURN(const int64_t bits, Integer(entry, "bits"));
  if (bits != 2 && bits != 4 && bits != 8) return Unsupported(absl::StrCat("bits is ", bits, ", not 2, 4 or 8"));
  scheme.bits = static_cast<int>(bits);
  CALIPRESS_RETURN_IF_ERROR(ReadGroupSize(entry, &scheme));
  CALIPRESS_ASSIGN_OR_RETURN(scheme.symmetric, Boolean(entry, "sym", true));
  CALIPRESS_ASSIGN_OR_RETURN(const bool reordered, Boolean(entry, "desc_act", false));
  if (reordered && scheme.group_size > 0) return Unsupported("desc_act puts columns into groups out of their order");
  CALIPRESS_ASSIGN_OR_RETURN(const bool head, Boolean(entry, "lm_head", false));
  if (head) return Unsupported("lm_head is quantized");
  if (entry.value("pack_dtype", Json("int32")) != "int32") return Unsupported("pack_dtype is not int32");
  const Json format = entry.value("checkpoint_format", Json("gptq"));
  if (format != "gptq" && format != "gptq_v2") {
    return Unsupported(absl::StrCat("checkpoint_format is ", Printable(format.dump())));
  }
  config->format = format == "gptq" ? &Gptq() : &GptqV2();
  config->schemes.push_back(scheme);
  config->ignore = {"lm_head"};
  CALIPRESS_RETURN_IF_ERROR(ReadRules(entry, config));
  return ReadTargets(entry, config);
}

absl::Status ReadAwqEntry(const Json& entry, QuantizationConfig* config) {
  QuantizationScheme scheme;
  CALIPRESS_ASSIGN_OR_RETURN(const int64_t bits, Integer(entry, "bits"));
  if (bits != 4) return Unsupported(absl::StrCat("bits is ", bits, ", not 4"));
  CALIPRESS_RETURN_IF_ERROR(ReadGroupSize(entry, &scheme));
  CALIPRESS_ASSIGN_OR_RETURN(const bool zero_point, Boolean(entry, "zero_point", true));
  if (!zero_point) return Unsupported("zero_point is false");
  scheme.symmetric = false;
  const Json version = entry.value("version", Json("gemm"));
  if (version != "gemm" && version != "GEMM") {
    return Unsupported(absl::StrCat("version is ", Printable(version.dump()), ", not gemm"));
  }
  if (entry.value("backend", Json("autoawq")) == "llm-awq") return Unsupported("backend is llm-awq");
  config->format = &Awq();
  config->schemes.push_back(scheme);
  config->targets.push_back({"Linear"});
  config->ignore = {"lm_head"};
  const auto dense = entry.find("modules_to_not_convert");
  if (dense == entry.end() || dense->is_null()) return absl::OkStatus();
  std::vector<std::string> names;
  CALIPRESS_RETURN_IF_ERROR(ReadNames(*dense, "modules_to_not_convert", &names));
  // Readers leave every path dense that has such a text in it.
  for (const std::string& name : names) config->ignore.push_back(absl::StrCat("re:.*", RE2::QuoteMeta(name)));
  return absl::OkStatus();
}

}  // namespace calipress::checkpoint
