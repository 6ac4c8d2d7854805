#pragma once

#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "compress/base/error.h"
#include "compress/calibration/source.h"
#include "compress/recipe/recipe.h"
#include "tests/unit/compress/calibration/testing_files.h"

namespace calipress::calibration {

// A model that writes, and thinks of sequences, what the test says.
class FakeModel : public ModelOracle {
 public:
  absl::StatusOr<std::vector<ScoredSequence>> Generate(const GenerationRequest& request) override {
    requests.push_back(request);
    std::vector<ScoredSequence> sequences;
    for (int64_t i = 0; i < request.sequences; ++i) sequences.push_back(write(request, i));
    return sequences;
  }
  absl::StatusOr<std::vector<ScoredSequence>> Score(std::vector<std::vector<int64_t>> sequences) override {
    if (!score) return DefectError("nobody asked");
    std::vector<ScoredSequence> answers;
    for (auto& ids : sequences) {
      const auto predicted = static_cast<int64_t>(ids.size()) - 1;
      const double perplexity = score(ids);
      answers.push_back({std::move(ids), std::log(perplexity) * static_cast<double>(predicted), predicted});
      ++scored;
    }
    return answers;
  }

  std::vector<GenerationRequest> requests;
  // The perplexity of a sequence, for filters.
  std::function<double(const std::vector<int64_t>&)> score;
  int64_t scored = 0;
  // Fills the sequence with id 100 + stream, with a perplexity that grows with the stream.
  std::function<ScoredSequence(const GenerationRequest&, int64_t)> write = [](const GenerationRequest& request,
                                                                              int64_t i) {
    const int64_t stream = static_cast<int64_t>(request.first_stream & 0xffffffff) + i;
    ScoredSequence sequence{request.prompts[i], 0.1 * static_cast<double>(stream + 1), 1};
    while (static_cast<int64_t>(sequence.ids.size()) < request.tokens) sequence.ids.push_back(500 + stream % 1000);
    return sequence;
  };
};

class GeneratedSources : public FileTest {
 protected:
  v1::Calibration Calibration(const std::string& yaml) {
    auto recipe = recipe::ParseYaml("calibration: " + yaml + "\nsteps: [{gptq: {}}]\n");
    EXPECT_TRUE(recipe.ok()) << recipe.status();
    arch::ArchSpec spec;
    spec.max_positions = 256;
    return recipe::Resolve(*recipe, spec).calibration();
  }

  SourceContext ModelContext() {
    SourceContext context = Context();
    context.model = &model_;
    context.begin_id = 1;
    context.end_ids = {2};
    return context;
  }

  std::string Error(const v1::Calibration& calibration, const SourceContext& context) {
    const auto tokens = MakeCalibrationTokens(calibration, context);
    EXPECT_EQ(ErrorReason(tokens.status()), "INVALID_CALIBRATION_DATA") << tokens.status();
    return std::string(tokens.status().message());
  }

  std::string WriteDocuments(int count, int words) {
    std::string rows;
    for (int i = 0; i < count; ++i) {
      rows += absl::StrCat("{\"text\": \"Story ", i);
      for (int k = 0; k < words; ++k) rows += " and more";
      rows += "\"}\n";
    }
    return Write("prefixes.jsonl", rows);
  }

  FakeModel model_;
};

}  // namespace calipress::calibration
