#include <cmath>

#include "absl/strings/str_cat.h"
#include "compress/recipe/part_checks.h"
#include "compress/recipe/recipe.h"

namespace calipress::recipe {
namespace {

constexpr double kMaxTemperature = 100.0;
constexpr int32_t kMaxTexts = 1 << 20;

class Fields {
 public:
  Fields(std::string path, const Refuse& refuse) : path_(std::move(path)), refuse_(refuse) {}

  void Temperature(const char* field, bool has, double value) const {
    if (has && !(value > 0.0 && value <= kMaxTemperature)) {
      Tell(field,
           absl::StrCat("must be above 0 and at most ", kMaxTemperature, "; for the likeliest token give top_k: 1"));
    }
  }
  void TopP(bool has, double value) const {
    if (has && !(value > 0.0 && value <= 1.0)) Tell("top_p", "must be above 0 and at most 1 (all tokens)");
  }
  void TopK(bool has, int32_t value) const {
    if (has && value < 0) Tell("top_k", "must be 0 (all tokens) or more");
  }
  void AtLeastOne(const char* field, bool has, int32_t value) const {
    if (has && value < 1) Tell(field, "must be at least 1");
  }
  void Tell(const char* field, const std::string& what) const { refuse_(absl::StrCat(path_, ".", field), what); }

 private:
  const std::string path_;
  const Refuse& refuse_;
};

void CheckSelf(const v1::SelfGeneratedSource& source, const std::string& path, const Refuse& refuse) {
  const Fields fields(path, refuse);
  fields.Temperature("initial_temperature", source.has_initial_temperature(), source.initial_temperature());
  fields.Temperature("final_temperature", source.has_final_temperature(), source.final_temperature());
  fields.AtLeastOne("schedule_tokens", source.has_schedule_tokens(), source.schedule_tokens());
  fields.TopK(source.has_top_k(), source.top_k());
  fields.TopP(source.has_top_p(), source.top_p());
  if (!v1::FirstTokens_IsValid(source.first_tokens())) fields.Tell("first_tokens", "must be any or stop_words");
}

void CheckPrefix(const v1::PrefixGeneratedSource& source, const std::string& path, const Refuse& refuse) {
  const Fields fields(path, refuse);
  CheckTextUri(source.prefixes().uri(), absl::StrCat(path, ".prefixes.uri"), refuse);
  if (!v1::TextLayout_IsValid(source.prefixes().layout())) fields.Tell("prefixes.layout", "must be pack or window");
  fields.AtLeastOne("prefix_tokens", source.has_prefix_tokens(), source.prefix_tokens());
  fields.AtLeastOne("max_new_tokens", source.has_max_new_tokens(), source.max_new_tokens());
  fields.Temperature("temperature", source.has_temperature(), source.temperature());
  fields.TopP(source.has_top_p(), source.top_p());
  fields.TopK(source.has_top_k(), source.top_k());
  if (source.has_texts() && (source.texts() < 2 || source.texts() > kMaxTexts)) {
    fields.Tell("texts", absl::StrCat("must be 2 to ", kMaxTexts));
  }
  const double penalty = source.repetition_penalty();
  if (source.has_repetition_penalty() && !(penalty > 0.0 && penalty <= kMaxTemperature)) {
    fields.Tell("repetition_penalty", "must be above 0; 1 is none");
  }
  if (source.has_drop_share() && !(source.drop_share() >= 0.0 && source.drop_share() < 1.0)) {
    fields.Tell("drop_share", "must be 0 (none is dropped) or more, and below 1");
  }
}

}  // namespace

void CheckGenerated(const v1::CalibrationSource& source, const std::string& path, const Refuse& refuse) {
  if (source.has_self_generated()) CheckSelf(source.self_generated(), absl::StrCat(path, ".self_generated"), refuse);
  if (source.has_prefix_generated()) {
    CheckPrefix(source.prefix_generated(), absl::StrCat(path, ".prefix_generated"), refuse);
  }
}

void CheckGeneratedForModel(const v1::Recipe& recipe, int64_t max_positions, const std::string& path,
                            const Refuse& refuse) {
  const v1::Calibration& calibration = recipe.calibration();
  for (int i = 0; i < calibration.sources_size(); ++i) {
    if (!calibration.sources(i).has_prefix_generated()) continue;
    const v1::PrefixGeneratedSource& source = calibration.sources(i).prefix_generated();
    const std::string field = absl::StrCat(path, ".calibration.sources[", i, "].prefix_generated.");
    if (source.prefix_tokens() >= max_positions) {
      refuse(field + "prefix_tokens", absl::StrCat("is ", source.prefix_tokens(), ", and the model has ", max_positions,
                                                   " positions for prefix and text; give less"));
    } else if (source.prefix_tokens() >= calibration.sequence_length()) {
      refuse(field + "prefix_tokens",
             absl::StrCat("is ", source.prefix_tokens(), ", which leaves nothing to write of the ",
                          calibration.sequence_length(), " tokens of calibration.sequence_length"));
    } else if (int64_t{source.prefix_tokens()} + source.max_new_tokens() > max_positions) {
      refuse(field + "max_new_tokens",
             absl::StrCat("is ", source.max_new_tokens(), ", and after a prefix of ", source.prefix_tokens(),
                          " the model has ", max_positions - source.prefix_tokens(), " positions left"));
    }
  }
}

}  // namespace calipress::recipe
