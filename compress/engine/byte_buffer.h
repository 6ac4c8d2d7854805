#pragma once

#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "compress/collective/group.h"

namespace calipress::engine {

// Values and tensors one after the other, as ranks of one attempt send them to each other: same program, same machine
// kind, no format to keep.
class ByteWriter {
 public:
  template <typename T>
  void Put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    Append(&value, sizeof value);
  }
  void PutString(const std::string& text);
  // Dtype, shape and bytes; an undefined one stays undefined.
  void PutTensor(const at::Tensor& tensor);
  const std::string& bytes() const { return bytes_; }

 private:
  void Append(const void* data, size_t size) { bytes_.append(static_cast<const char*>(data), size); }
  std::string bytes_;
};

// Reads what a ByteWriter wrote, in the same order. After the first thing that is not there everything is empty, and
// `ok` false.
class ByteReader {
 public:
  // `bytes` outlives the reader; tensors are made on `device`.
  ByteReader(const std::string& bytes, at::Device device) : bytes_(bytes), device_(device) {}

  template <typename T>
  T Take() {
    T value{};
    Read(&value, sizeof value);
    return value;
  }
  std::string TakeString();
  at::Tensor TakeTensor();
  bool ok() const { return ok_; }
  bool AtEnd() const { return at_ == bytes_.size(); }

 private:
  bool Read(void* to, size_t size);
  const std::string& bytes_;
  const at::Device device_;
  size_t at_ = 0;
  bool ok_ = true;
};

// What every rank brings, in rank order. `device`: where the group's tensors live.
absl::StatusOr<std::vector<std::string>> GatherBytes(collective::Group& group, const std::string& mine,
                                                     at::Device device);

}  // namespace calipress::engine
