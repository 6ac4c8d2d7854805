// The bytes of imatrix.gguf, read by the description of GGUF alone. tests/e2e has them read by the gguf package.
#include "compress/checkpoint/imatrix.h"

#include <cstring>
#include <map>
#include <string>

#include <gtest/gtest.h>

namespace calipress::checkpoint {
namespace {

class Reader {
 public:
  explicit Reader(const std::string& bytes) : bytes_(bytes) {}
  template <typename T>
  T Number() {
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string Text() {
    const auto size = Number<uint64_t>();
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  size_t at() const { return at_; }

 private:
  const std::string& bytes_;
  size_t at_ = 0;
};

size_t Aligned(size_t at) { return (at + 31) / 32 * 32; }

TEST(Imatrix, IsGgufWithSumsAndCounts) {
  const std::string bytes = FormatImatrix({{"a.jsonl", "ids.npy"},
                                           /*chunks=*/8,
                                           /*chunk_size=*/64,
                                           /*tokens=*/512,
                                           {{"blk.10.attn_q.weight", {1, 2, 3}}, {"blk.1.ffn_down.weight", {4, 5}}}});
  Reader reader(bytes);
  EXPECT_EQ(bytes.substr(0, 4), "GGUF");
  reader.Number<uint32_t>();
  EXPECT_EQ(reader.Number<uint32_t>(), 3u);
  EXPECT_EQ(reader.Number<uint64_t>(), 4u);
  EXPECT_EQ(reader.Number<uint64_t>(), 4u);
  EXPECT_EQ(reader.Text(), "general.type");
  EXPECT_EQ(reader.Number<uint32_t>(), 8u);
  EXPECT_EQ(reader.Text(), "imatrix");
  EXPECT_EQ(reader.Text(), "imatrix.datasets");
  EXPECT_EQ(reader.Number<uint32_t>(), 9u);
  EXPECT_EQ(reader.Number<uint32_t>(), 8u);
  EXPECT_EQ(reader.Number<uint64_t>(), 2u);
  EXPECT_EQ(reader.Text(), "a.jsonl");
  EXPECT_EQ(reader.Text(), "ids.npy");
  for (const auto& [key, value] :
       std::map<std::string, uint32_t>{{"imatrix.chunk_count", 8}, {"imatrix.chunk_size", 64}}) {
    EXPECT_EQ(reader.Text(), key);
    EXPECT_EQ(reader.Number<uint32_t>(), 4u);
    EXPECT_EQ(reader.Number<uint32_t>(), value);
  }

  struct Tensor {
    uint64_t columns, offset;
  };
  std::map<std::string, Tensor> tensors;
  std::vector<std::string> order;
  for (int i = 0; i < 4; ++i) {
    order.push_back(reader.Text());
    EXPECT_EQ(reader.Number<uint32_t>(), 2u);
    const auto columns = reader.Number<uint64_t>();
    EXPECT_EQ(reader.Number<uint64_t>(), 1u);
    EXPECT_EQ(reader.Number<uint32_t>(), 0u);
    tensors[order.back()] = {columns, reader.Number<uint64_t>()};
  }
  EXPECT_EQ(order, (std::vector<std::string>{"blk.1.ffn_down.weight.in_sum2", "blk.1.ffn_down.weight.counts",
                                             "blk.10.attn_q.weight.in_sum2", "blk.10.attn_q.weight.counts"}));
  const size_t data = Aligned(reader.at());
  const auto values = [&](const std::string& name) {
    const Tensor& tensor = tensors.at(name);
    EXPECT_EQ(tensor.offset % 32, 0u);
    std::vector<float> read(tensor.columns);
    std::memcpy(read.data(), bytes.data() + data + tensor.offset, tensor.columns * sizeof(float));
    return read;
  };
  EXPECT_EQ(values("blk.1.ffn_down.weight.in_sum2"), (std::vector<float>{4, 5}));
  EXPECT_EQ(values("blk.10.attn_q.weight.in_sum2"), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(values("blk.10.attn_q.weight.counts"), std::vector<float>{512});
  EXPECT_EQ(bytes.size() % 32, 0u);
  EXPECT_EQ(bytes.size(), data + 4 * 32);
}

}  // namespace
}  // namespace calipress::checkpoint
