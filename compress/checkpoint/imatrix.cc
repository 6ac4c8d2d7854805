#include "compress/checkpoint/imatrix.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace calipress::checkpoint {
namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kAlignment = 32;
// Types of values, and of tensors.
constexpr uint32_t kUint32 = 4, kString = 8, kArray = 9, kF32 = 0;

class Bytes {
 public:
  template <typename T>
  void Number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void Text(std::string_view text) {
    Number<uint64_t>(text.size());
    bytes_.append(text);
  }
  void Floats(const std::vector<float>& values) {
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  void Align() { bytes_.resize((bytes_.size() + kAlignment - 1) / kAlignment * kAlignment); }
  size_t size() const { return bytes_.size(); }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

void AddMetadata(const Imatrix& imatrix, Bytes& file) {
  file.Text("general.type");
  file.Number(kString);
  file.Text("imatrix");
  file.Text("imatrix.datasets");
  file.Number(kArray);
  file.Number(kString);
  file.Number<uint64_t>(imatrix.datasets.size());
  for (const std::string& dataset : imatrix.datasets) file.Text(dataset);
  file.Text("imatrix.chunk_count");
  file.Number(kUint32);
  file.Number(static_cast<uint32_t>(imatrix.chunks));
  file.Text("imatrix.chunk_size");
  file.Number(kUint32);
  file.Number(static_cast<uint32_t>(imatrix.chunk_size));
}

}  // namespace

std::string FormatImatrix(Imatrix imatrix) {
  std::sort(imatrix.entries.begin(), imatrix.entries.end(),
            [](const Imatrix::Entry& a, const Imatrix::Entry& b) { return a.weight < b.weight; });
  Bytes file, data;
  for (const char c : std::string_view("GGUF")) file.Number(c);
  file.Number(kVersion);
  file.Number<uint64_t>(2 * imatrix.entries.size());
  file.Number<uint64_t>(4);
  AddMetadata(imatrix, file);
  const auto add = [&](const std::string& name, uint64_t columns, const std::vector<float>& values) {
    data.Align();
    file.Text(name);
    file.Number<uint32_t>(2);
    file.Number<uint64_t>(columns);
    file.Number<uint64_t>(1);
    file.Number(kF32);
    file.Number<uint64_t>(data.size());
    data.Floats(values);
  };
  for (const Imatrix::Entry& entry : imatrix.entries) {
    add(entry.weight + ".in_sum2", entry.in_sum2.size(), entry.in_sum2);
    add(entry.weight + ".counts", 1, {static_cast<float>(imatrix.tokens)});
  }
  file.Align();
  data.Align();
  return file.Take() + data.Take();
}

}  // namespace calipress::checkpoint
