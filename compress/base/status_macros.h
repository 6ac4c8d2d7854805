#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the calling function when `expr` is not OK.
#define CALIPRESS_RETURN_IF_ERROR(expr)                    \
  do {                                                     \
    ::absl::Status calipress_status_ = (expr);             \
    if (!calipress_status_.ok()) return calipress_status_; \
  } while (false)

#define CALIPRESS_CONCAT_INNER_(a, b) a##b
#define CALIPRESS_CONCAT_(a, b) CALIPRESS_CONCAT_INNER_(a, b)

// Assigns the value of a StatusOr, or returns its status. `lhs` may declare a variable.
#define CALIPRESS_ASSIGN_OR_RETURN(lhs, expr) \
  CALIPRESS_ASSIGN_OR_RETURN_(CALIPRESS_CONCAT_(calipress_result_, __LINE__), lhs, expr)
#define CALIPRESS_ASSIGN_OR_RETURN_(result, lhs, expr) \
  auto result = (expr);                                \
  if (!result.ok()) return std::move(result).status(); \
  lhs = std::move(result).value()
