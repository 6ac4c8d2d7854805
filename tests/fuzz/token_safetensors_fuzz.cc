#include "compress/calibration/token_safetensors.h"
#include "tests/fuzz/mutation_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto ids = calipress::calibration::ParseTokenSafetensors(text);
  if (ids.ok() && ids->sequences * ids->length != static_cast<int64_t>(ids->ids.size())) __builtin_trap();
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
int main(int argc, char** argv) {
  const std::string header = "{\"ids\":{\"dtype\":\"I32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}";
  std::string size(8, '\0');
  size[0] = static_cast<char>(header.size());
  return calipress::fuzz::Drive(argc, argv, {size + header + std::string(24, '\1')});
}
#endif
