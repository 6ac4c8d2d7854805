#include "absl/strings/str_cat.h"
#include "compress/recipe/method_checks.h"

namespace calipress::recipe {
namespace {

constexpr int kMaxGrid = 100;

}  // namespace

void CheckAwq(const v1::Recipe&, const v1::Step& step, const std::string& path, const Refuse& refuse) {
  const v1::Awq& awq = step.awq();
  if (awq.has_bits() && awq.bits() != 4 && awq.bits() != 8) {
    refuse(absl::StrCat(path, ".bits"), absl::StrCat("must be 4 or 8, not ", awq.bits()));
  }
  if (awq.has_group_size() && awq.group_size() != -1 && awq.group_size() < 1) {
    refuse(absl::StrCat(path, ".group_size"),
           absl::StrCat("must be a positive number of columns, or -1 for one scale per output channel, not ",
                        awq.group_size()));
  }
  if (!v1::AwqSearch_IsValid(awq.search())) {
    refuse(absl::StrCat(path, ".search"), "must be activations or duo");
  }
  if (!v1::Observer_IsValid(awq.observer())) refuse(absl::StrCat(path, ".observer"), "must be minmax or mse");
  if (awq.has_grid() && (awq.grid() < 1 || awq.grid() > kMaxGrid)) {
    refuse(absl::StrCat(path, ".grid"), absl::StrCat("must be 1 to ", kMaxGrid, ", not ", awq.grid()));
  }
}

}  // namespace calipress::recipe
