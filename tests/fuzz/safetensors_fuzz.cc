#include <cstdlib>

#include "compress/checkpoint/safetensors.h"
#include "tests/fuzz/mutation_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto header = calipress::checkpoint::ParseSafetensorsHeader(text, static_cast<int64_t>(8 + size + 16));
  if (!header.ok()) return 0;
  // What is accepted must lie inside the file.
  for (const auto& tensor : header->tensors) {
    if (tensor.offset < header->header_bytes || tensor.bytes < 0 ||
        tensor.offset + tensor.bytes > static_cast<int64_t>(8 + size + 16)) {
      std::abort();
    }
  }
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
int main(int argc, char** argv) {
  return calipress::fuzz::Drive(
      argc, argv,
      {R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]}})",
       R"({"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}})"});
}
#endif
