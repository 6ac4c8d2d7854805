// The bytes are config.json up to the first NUL, then those of each tensor one after the other: whatever passes is
// dequantized, so that a check that is missing shows as a read or write out of bounds.
#include <algorithm>
#include <cstring>
#include <string>

#include "compress/checkpoint/spqr_layout.h"
#include "tests/fuzz/mutation_driver.h"

namespace {

using calipress::Dtype;
using calipress::DtypeBytes;
namespace checkpoint = calipress::checkpoint;

constexpr int64_t kOut = 6, kIn = 32;
int64_t decoded = 0;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const uint8_t* text_end = std::find(data, data + size, uint8_t{0});
  const auto config = checkpoint::ParseSpqrConfig(std::string(data, text_end));
  if (!config.ok() || !config->has_value()) return 0;
  const checkpoint::SpqrScheme& scheme = (*config)->scheme;
  const uint8_t* at = text_end == data + size ? text_end : text_end + 1;
  size_t left = data + size - at;
  // The outliers' count is the last of the offsets, as far as the bytes go.
  int32_t count = 0;
  const auto read = [&](std::string_view name) -> absl::StatusOr<std::optional<checkpoint::SpqrTensorBytes>> {
    for (const auto& plan : checkpoint::SpqrLinearPlan("m", kOut, kIn, scheme, Dtype::kBF16, count)) {
      if (plan.name != "m." + std::string(name)) continue;
      const auto bytes = static_cast<size_t>(checkpoint::TensorBytes(plan));
      if (bytes > left) return std::nullopt;
      checkpoint::SpqrTensorBytes tensor{plan.dtype, plan.shape, std::vector<char>(at, at + bytes)};
      at += bytes;
      left -= bytes;
      if (name == "outlier_offsets") {
        std::memcpy(&count, tensor.bytes.data() + bytes - 4, 4);
        count = std::clamp(count, 0, 4096);
      }
      return tensor;
    }
    return std::nullopt;
  };
  if (kIn % scheme.group_size != 0) return 0;
  const auto linear = checkpoint::DecodeSpqr("m", kOut, kIn, scheme, read);
  if (!linear.ok()) return 0;
  ++decoded;
  std::vector<char> weight(kOut * kIn * DtypeBytes(linear->dtype));
  checkpoint::DequantizeSpqrRows(linear->View(), 0, kOut, weight.data());
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
namespace {

std::string Text(const std::vector<int32_t>& words) {
  return {reinterpret_cast<const char*>(words.data()), words.size() * sizeof(int32_t)};
}

// In the order in which DecodeSpqr asks.
std::string Seed(bool act_order) {
  const checkpoint::SpqrScheme scheme{.act_order = act_order};
  std::string seed = *checkpoint::SpqrConfig("{}", scheme, {"lm_head"});
  seed += '\0';
  std::string body;
  const int64_t shape[2] = {kOut, kIn};
  body.append(reinterpret_cast<const char*>(shape), sizeof shape);
  body.append(kOut * kIn / 2, '\x5a');
  if (act_order) {
    std::vector<int32_t> order(kIn);
    for (int i = 0; i < kIn; ++i) order[i] = static_cast<int32_t>(kIn - 1 - i);
    body += Text(order);
  }
  body.append(8 + 8 + 8 + 8, '\x21');
  body += Text({0, 1, 1, 3, 3, 3, 4});
  for (const uint16_t column : {3, 4, 9, 31}) body.append(reinterpret_cast<const char*>(&column), 2);
  body.append(8, '\x3f');
  return seed + body;
}

}  // namespace

int main(int argc, char** argv) {
  const int result = calipress::fuzz::Drive(argc, argv, {Seed(true), Seed(false)});
  return decoded == 0 ? 1 : result;  // seeds that nothing comes of test nothing
}
#endif
