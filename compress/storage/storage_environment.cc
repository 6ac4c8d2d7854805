#include "compress/storage/storage_environment.h"

#include <cstdlib>
#include <initializer_list>

namespace calipress::storage {
namespace {

std::string FirstSet(const std::string& given, std::initializer_list<const char*> names) {
  if (!given.empty()) return given;
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

}  // namespace

S3Environment ResolveS3Environment(const StorageOptions& options) {
  S3Environment environment;
  environment.endpoint = FirstSet(options.s3_endpoint, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"});
  environment.region = FirstSet(options.s3_region, {"AWS_REGION", "AWS_DEFAULT_REGION"});
  return environment;
}

}  // namespace calipress::storage
