#include "compress/recipe/recipe.h"
#include "tests/fuzz/mutation_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto recipe = calipress::recipe::ParseYaml(text);
  if (recipe.ok()) (void)calipress::recipe::Validate(*recipe, true, "recipe");
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
int main(int argc, char** argv) {
  return calipress::fuzz::Drive(
      argc, argv,
      {"calibration:\n  sources:\n    - text: {uri: a.jsonl, field: text}\n  samples: 4\nsteps:\n  - gptq: {bits: 4, "
       "group_size: 128}\n    ignore: [\"re:.*x\"]\noutput: {format: compressed-tensors}\npropagation: original\n",
       "steps: [{rtn: {bits: 8}}]\nevaluation: {perplexity: [{name: a, uri: b.txt}]}\n"});
}
#endif
