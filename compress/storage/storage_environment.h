#pragma once

#include <string>

#include "compress/storage/object_store.h"

namespace calipress::storage {

// Where s3:// goes, once options and environment have been asked.
struct S3Environment {
  std::string endpoint;  // "http://host:port", "host:port" or "" for Amazon's own
  std::string region;    // "" where nobody says
};

// The one place of this folder that reads the environment: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION,
// AWS_DEFAULT_REGION. Credentials are read by the AWS SDK itself.
S3Environment ResolveS3Environment(const StorageOptions& options);

}  // namespace calipress::storage
