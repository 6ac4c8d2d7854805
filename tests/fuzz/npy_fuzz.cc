#include "compress/calibration/source.h"
#include "tests/fuzz/mutation_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto ids = calipress::calibration::ParseNpy(text);
  if (ids.ok() && ids->sequences * ids->length != static_cast<int64_t>(ids->ids.size())) __builtin_trap();
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
int main(int argc, char** argv) {
  return calipress::fuzz::Drive(argc, argv, {calipress::calibration::FormatNpy({2, 3, {1, 2, 3, 4, 5, 6}})});
}
#endif
