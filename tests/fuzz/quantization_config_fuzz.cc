#include "compress/checkpoint/compressed_tensors.h"
#include "tests/fuzz/mutation_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = calipress::checkpoint::ParseQuantizationConfig(text);
  if (config.ok()) (void)config->SchemeOf("model.layers.0.mlp.up_proj");
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
int main(int argc, char** argv) {
  return calipress::fuzz::Drive(
      argc, argv,
      {R"({"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","quantization_status":"compressed","ignore":["lm_head","re:.*x"],"config_groups":{"g":{"targets":["Linear","re:.*up"],"weights":{"num_bits":4,"type":"int","symmetric":true,"strategy":"group","group_size":128}}}}})",
       R"({"quantization_config":{"quant_method":"gptq","bits":4,"group_size":128,"sym":true,"desc_act":false,"checkpoint_format":"gptq","lm_head":false,"pack_dtype":"int32","dynamic":{"-:.*up":{}},"modules_in_block_to_quantize":[["mlp.up_proj"],["a"]]}})",
       R"({"quantization_config":{"quant_method":"awq","bits":4,"group_size":128,"zero_point":true,"version":"gemm","modules_to_not_convert":["lm_head"]}})"});
}
#endif
