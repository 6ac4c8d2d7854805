// What a stage reads of the model: its own blocks' tensors, and the ends of the model where it has them.
#include <algorithm>
#include <mutex>
#include <utility>

#include "calipress/worker/v1/worker_service.pb.h"
#include "compress/checkpoint/safetensors.h"
#include "testing_replicas.h"
#include "testing_stage.h"

namespace calipress::engine::testing {
namespace {

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

// Another store that notes what is read of .safetensors files.
class NotingStore : public storage::ObjectStore {
 public:
  explicit NotingStore(storage::ObjectStore& store) : store_(store) {}

  absl::StatusOr<std::unique_ptr<storage::ObjectReader>> Open(const std::string& uri) override {
    auto reader = store_.Open(uri);
    if (!reader.ok() || !uri.ends_with("/mix-llama-5.8m/model.safetensors")) return reader;
    return std::make_unique<NotingReader>(*std::move(reader), *this);
  }
  absl::StatusOr<std::unique_ptr<storage::ObjectWriter>> Create(const std::string& uri) override {
    return store_.Create(uri);
  }
  absl::StatusOr<storage::ObjectInfo> Stat(const std::string& uri) override { return store_.Stat(uri); }
  absl::StatusOr<std::vector<storage::ObjectInfo>> List(const std::string& uri) override { return store_.List(uri); }
  absl::Status Move(const std::string& from, const std::string& to) override { return store_.Move(from, to); }
  absl::Status Delete(const std::string& uri) override { return store_.Delete(uri); }
  absl::Status DeleteFolder(const std::string& uri) override { return store_.DeleteFolder(uri); }

  Ranges ranges() {
    std::scoped_lock lock(mutex_);
    return ranges_;
  }

 private:
  class NotingReader : public storage::ObjectReader {
   public:
    NotingReader(std::unique_ptr<storage::ObjectReader> reader, NotingStore& store)
        : reader_(std::move(reader)), store_(store) {}
    int64_t size() const override { return reader_->size(); }
    absl::Status ReadAt(int64_t offset, int64_t length, void* data) override {
      {
        std::scoped_lock lock(store_.mutex_);
        store_.ranges_.emplace_back(offset, offset + length);
      }
      return reader_->ReadAt(offset, length, data);
    }

   private:
    std::unique_ptr<storage::ObjectReader> reader_;
    NotingStore& store_;
  };

  storage::ObjectStore& store_;
  std::mutex mutex_;
  Ranges ranges_;
};

class OwnBlocks : public Stage {
 protected:
  // Of the tensors' bytes, whether anything was read.
  bool Touched(const Ranges& ranges, const std::string& part) {
    const auto model = checkpoint::ModelReader::Open(*store_, Data("mix-llama-5.8m"));
    EXPECT_TRUE(model.ok()) << model.status();
    bool known = false, touched = false;
    for (const checkpoint::TensorInfo& tensor : (*model)->tensors()) {
      if (tensor.name.find(part) == std::string::npos) continue;
      known = true;
      const int64_t begin = tensor.offset, end = begin + tensor.bytes;
      touched |= std::any_of(ranges.begin(), ranges.end(),
                             [&](const auto& range) { return range.first < end && begin < range.second; });
    }
    EXPECT_TRUE(known) << part;
    return touched;
  }
};

TEST_F(OwnBlocks, AreAllThatAStageReads) {
  const worker::v1::Assignment whole = Assignment(Yaml("gptq: {group_size: 64}"), "attempt");
  NotingStore first(*store_), second(*store_);
  RunRanks(2, [&](collective::Group& group) {
    worker::v1::Assignment assignment = whole;
    assignment.set_rank(group.rank());
    assignment.set_world_size(2);
    assignment.set_first_block(group.rank() == 0 ? 0 : 3);
    assignment.set_end_block(group.rank() == 0 ? 3 : whole.end_block());
    StageEnvironment environment{group.rank() == 0 ? first : second, group, "cpu", int64_t{1} << 30};
    Recorder recorder;
    const auto outcome = RunStage(assignment, environment, recorder, CancellationToken());
    EXPECT_TRUE(outcome.ok()) << outcome.status();
  });
  for (int block = 0; block < whole.end_block(); ++block) {
    const std::string part = "layers." + std::to_string(block) + ".";
    EXPECT_EQ(Touched(first.ranges(), part), block < 3) << block;
    EXPECT_EQ(Touched(second.ranges(), part), block >= 3) << block;
  }
}

}  // namespace
}  // namespace calipress::engine::testing
