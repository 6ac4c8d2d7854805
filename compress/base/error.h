#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace calipress {

// Whose failure it is. The scheduler reads this and never the text.
enum class ErrorClass {
  kUser,         // the request or its data; trying again gives the same answer
  kEnvironment,  // a machine, the network, the storage; another try elsewhere may work
  kDefect,       // ours
};

std::string_view ErrorClassName(ErrorClass error_class);

// Reasons are the names of calipress.v1.ErrorReason; the engine has no proto of the API, so they travel as text. A
// test keeps this list and the enum equal.
namespace reason {
inline constexpr std::string_view kInvalidRecipe = "INVALID_RECIPE";
inline constexpr std::string_view kInvalidRequest = "INVALID_REQUEST";
inline constexpr std::string_view kUnsupportedCombination = "UNSUPPORTED_COMBINATION";
inline constexpr std::string_view kUnsupportedModel = "UNSUPPORTED_MODEL";
inline constexpr std::string_view kSourceModelNotFound = "SOURCE_MODEL_NOT_FOUND";
inline constexpr std::string_view kSourceModelCorrupt = "SOURCE_MODEL_CORRUPT";
inline constexpr std::string_view kInvalidCalibrationData = "INVALID_CALIBRATION_DATA";
inline constexpr std::string_view kOutputExists = "OUTPUT_EXISTS";
inline constexpr std::string_view kInsufficientMemory = "INSUFFICIENT_MEMORY";
inline constexpr std::string_view kQueueFull = "QUEUE_FULL";
inline constexpr std::string_view kJobNotFound = "JOB_NOT_FOUND";
inline constexpr std::string_view kJobExists = "JOB_EXISTS";
inline constexpr std::string_view kRequestIdReused = "REQUEST_ID_REUSED";
inline constexpr std::string_view kJobNotTerminal = "JOB_NOT_TERMINAL";
inline constexpr std::string_view kLeaseLost = "LEASE_LOST";
inline constexpr std::string_view kStoreUnavailable = "STORE_UNAVAILABLE";
inline constexpr std::string_view kStorageUnavailable = "STORAGE_UNAVAILABLE";
inline constexpr std::string_view kStoragePermissionDenied = "STORAGE_PERMISSION_DENIED";
inline constexpr std::string_view kStorageFull = "STORAGE_FULL";
inline constexpr std::string_view kDraining = "DRAINING";
inline constexpr std::string_view kWorkerLost = "WORKER_LOST";
inline constexpr std::string_view kPeerLost = "PEER_LOST";
inline constexpr std::string_view kNonFiniteWeights = "NON_FINITE_WEIGHTS";
inline constexpr std::string_view kNonFiniteActivations = "NON_FINITE_ACTIVATIONS";
inline constexpr std::string_view kHessianNotPositiveDefinite = "HESSIAN_NOT_POSITIVE_DEFINITE";
inline constexpr std::string_view kOutOfMemory = "OUT_OF_MEMORY";
inline constexpr std::string_view kTooManyAttempts = "TOO_MANY_ATTEMPTS";
inline constexpr std::string_view kHistoryTrimmed = "HISTORY_TRIMMED";
inline constexpr std::string_view kCancelled = "CANCELLED";
inline constexpr std::string_view kDeviceUnavailable = "DEVICE_UNAVAILABLE";
inline constexpr std::string_view kInternal = "INTERNAL";
}  // namespace reason

// One field that is wrong: its path in the request ("recipe.steps[0].gptq.bits") and what to do about it.
struct FieldViolation {
  std::string field;
  std::string description;
};

// Makes a status that carries a reason and a class as payloads. `message` says what is wrong, with the file, tensor
// or field, and what to do.
absl::Status MakeError(absl::StatusCode code, std::string_view reason, ErrorClass error_class,
                       std::string_view message);

// Short forms for the common cases.
absl::Status UserError(std::string_view reason, std::string_view message);          // kInvalidArgument
absl::Status PreconditionError(std::string_view reason, std::string_view message);  // kFailedPrecondition, user
absl::Status EnvironmentError(std::string_view reason, std::string_view message);   // kUnavailable
absl::Status DefectError(std::string_view message);                                 // kInternal, INTERNAL

// INVALID_ARGUMENT that lists every violation (payload) and names them in the message.
absl::Status ViolationsError(std::string_view reason, const std::vector<FieldViolation>& violations);

// What MakeError put in; INTERNAL / a class guessed from the code for a status made elsewhere.
std::string ErrorReason(const absl::Status& status);
ErrorClass ErrorClassOf(const absl::Status& status);
std::vector<FieldViolation> Violations(const absl::Status& status);

// The same status (code, reason, class, violations) with "context: " before its message.
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace calipress
