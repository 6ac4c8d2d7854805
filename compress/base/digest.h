#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace calipress {

// SHA-256, incremental. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void Update(const void* data, size_t size);
  // 64 hexadecimal digits; ends the computation.
  std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string Sha256Of(std::string_view bytes);

// 128 bits from the system's generator, as 32 hexadecimal digits: lease tokens, session ids, uids.
std::string RandomId();

}  // namespace calipress
