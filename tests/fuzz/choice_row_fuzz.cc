#include "compress/tasks/choice_row.h"
#include "tests/fuzz/mutation_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  calipress::v1::MultipleChoice task;
  task.set_context_field("context");
  task.set_choices_field("choices");
  task.set_answer_field("answer");
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto row = calipress::tasks::ParseChoiceRow(line, task);
  if (row.ok() && (row->options() < 2 || row->answer < 0 || row->answer >= static_cast<int64_t>(row->options()))) {
    __builtin_trap();
  }
  if (row.ok() && row->contexts.size() != 1 && row->choices.size() != 1) __builtin_trap();
  return 0;
}

#ifndef CALIPRESS_LIBFUZZER
int main(int argc, char** argv) {
  return calipress::fuzz::Drive(argc, argv,
                                {R"({"context": "a", "choices": ["b", "cé"], "answer": 1, "x": [{}]})",
                                 R"({"context": ["a", "c"], "choices": "b", "answer": 1})"});
}
#endif
