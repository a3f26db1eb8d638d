/// @file
/// What can go wrong.
///
///     Error
///     ├── ProtocolError                the stream broke the API's contract
///     └── RpcError                     the call ended with a status other than OK
///         ├── InvalidArgumentError     a field is wrong; `violations` says which
///         ├── NotFoundError            no such model
///         │   └── GenerationNotFoundError  no such generation runs or is kept
///         ├── EventsExpiredError       the events to watch are no longer kept
///         ├── FailedPreconditionError  the model is known but not loaded
///         │   ├── ModelLoadError       it cannot be loaded; the message says what and where
///         │   └── ModelsManagedError   others decide which models run
///         ├── AlreadyExistsError       the request_id belongs to another generation
///         ├── OverloadedError          the queue is full, or the key's limit; `retry_after`
///         ├── NoResourcesError         no replica of the model's stages can be placed
///         ├── OutOfMemoryError         the server's device has not enough for this image
///         ├── ReaderTooSlowError       this client has stopped reading
///         ├── MessageTooLargeError     a message is over gRPC's size limit
///         ├── UnavailableError         not reachable, loading or draining; `retry_after`
///         ├── UnauthenticatedError     no or wrong credentials
///         ├── PermissionDeniedError    not allowed
///         ├── DeadlineExceededError    the timeout passed
///         ├── GenerationCancelledError ended by a cancel, the server, or the client's closing
///         └── InternalError            a defect of the server; `error_id` is in its log
///
/// A status that is not in the tree is a plain `RpcError`, with its `code`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "leyden/time.hpp"

namespace leyden {

/// The codes of gRPC, with its numbers.
enum class StatusCode : std::uint8_t {
  ok = 0,                   ///< OK
  cancelled = 1,            ///< CANCELLED
  unknown = 2,              ///< UNKNOWN
  invalid_argument = 3,     ///< INVALID_ARGUMENT
  deadline_exceeded = 4,    ///< DEADLINE_EXCEEDED
  not_found = 5,            ///< NOT_FOUND
  already_exists = 6,       ///< ALREADY_EXISTS
  permission_denied = 7,    ///< PERMISSION_DENIED
  resource_exhausted = 8,   ///< RESOURCE_EXHAUSTED
  failed_precondition = 9,  ///< FAILED_PRECONDITION
  aborted = 10,             ///< ABORTED
  out_of_range = 11,        ///< OUT_OF_RANGE
  unimplemented = 12,       ///< UNIMPLEMENTED
  internal = 13,            ///< INTERNAL
  unavailable = 14,         ///< UNAVAILABLE
  data_loss = 15,           ///< DATA_LOSS
  unauthenticated = 16,     ///< UNAUTHENTICATED
};

/// Returns a code's name as gRPC writes it, `INVALID_ARGUMENT` for one.
std::string_view to_string(StatusCode code) noexcept;

/// A field of the request that is wrong.
struct FieldViolation {
  /// Name of the field, as in the API.
  std::string field;
  /// What is wrong with it, and what is allowed.
  std::string description;
};

/// What the server said of a failure.
struct Failure {
  /// The gRPC status code.
  StatusCode code = StatusCode::unknown;
  /// What went wrong, in words.
  std::string message = {};
  /// Why, in UPPER_SNAKE_CASE. Empty where no Leyden server answered.
  std::string reason = {};
  /// More on the reason.
  std::map<std::string, std::string> metadata = {};
  /// The fields that are wrong; empty unless the code is INVALID_ARGUMENT.
  std::vector<FieldViolation> violations = {};
  /// When a later try can succeed. Absent: the server did not say.
  std::optional<Seconds> retry_after = {};
};

/// Base of everything that this library throws on its own account.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The stream broke the API's contract: a gap, a wrong size, no summary at its end.
class ProtocolError : public Error {
 public:
  using Error::Error;
};

/// The call ended with a status other than OK.
class RpcError : public Error {
 public:
  /// Takes what the server said; `what()` has the message, and the fields that are wrong.
  explicit RpcError(Failure failure);

  /// The gRPC status code.
  [[nodiscard]] StatusCode code() const noexcept { return failure_->code; }
  /// What went wrong, in words.
  [[nodiscard]] const std::string& message() const noexcept { return failure_->message; }
  /// Why, in UPPER_SNAKE_CASE. Empty where no Leyden server answered.
  [[nodiscard]] const std::string& reason() const noexcept { return failure_->reason; }
  /// More on the reason.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept {
    return failure_->metadata;
  }
  /// The fields that are wrong; empty unless the code is INVALID_ARGUMENT.
  [[nodiscard]] const std::vector<FieldViolation>& violations() const noexcept {
    return failure_->violations;
  }
  /// When a later try can succeed. Absent: the server did not say.
  [[nodiscard]] std::optional<Seconds> retry_after() const noexcept {
    return failure_->retry_after;
  }

 private:
  // Shared, since copying an exception must not throw.
  std::shared_ptr<const Failure> failure_;
};

/// A field of the request is wrong.
class InvalidArgumentError : public RpcError {
  using RpcError::RpcError;
};

/// There is no such model.
class NotFoundError : public RpcError {
  using RpcError::RpcError;
};

/// No such generation runs, or is kept any more.
class GenerationNotFoundError : public NotFoundError {
  using NotFoundError::NotFoundError;
};

/// The generation is known, but the events that were asked for are no longer kept.
class EventsExpiredError : public RpcError {
  using RpcError::RpcError;
};

/// The model is known but not loaded.
class FailedPreconditionError : public RpcError {
  using RpcError::RpcError;
};

/// The model cannot be loaded: something of its files is missing or wrong, or does not fit.
class ModelLoadError : public FailedPreconditionError {
  using FailedPreconditionError::FailedPreconditionError;
};

/// The server's applications stand in a Serve config, whose owner decides what is loaded.
class ModelsManagedError : public FailedPreconditionError {
  using FailedPreconditionError::FailedPreconditionError;
};

/// The request_id belongs to another generation, which runs or is kept.
class AlreadyExistsError : public RpcError {
  using RpcError::RpcError;
};

/// The queue is full, the deadline cannot be met, or a limit of the API key is reached.
class OverloadedError : public RpcError {
  using RpcError::RpcError;
};

/// No replica of the model's stages can be placed; the message says what is lacking.
class NoResourcesError : public RpcError {
  using RpcError::RpcError;
};

/// The server's device has not enough memory; a smaller size or fewer images are the remedy.
class OutOfMemoryError : public RpcError {
  using RpcError::RpcError;
};

/// The server ended the stream because this client has stopped reading it.
class ReaderTooSlowError : public RpcError {
  using RpcError::RpcError;
};

/// A message is over a size limit of gRPC.
class MessageTooLargeError : public RpcError {
  using RpcError::RpcError;
};

/// The server cannot be reached, is loading or draining, or lost a stage.
class UnavailableError : public RpcError {
  using RpcError::RpcError;
};

/// There are no credentials, or they are wrong.
class UnauthenticatedError : public RpcError {
  using RpcError::RpcError;
};

/// The credentials do not allow this.
class PermissionDeniedError : public RpcError {
  using RpcError::RpcError;
};

/// The timeout passed.
class DeadlineExceededError : public RpcError {
  using RpcError::RpcError;
};

/// A cancel or the server ended the generation, or the client was closed while it ran.
class GenerationCancelledError : public RpcError {
  using RpcError::RpcError;
};

/// A defect of the server.
class InternalError : public RpcError {
 public:
  using RpcError::RpcError;

  /// Id under which the server logged the defect; empty if it gave none.
  [[nodiscard]] std::string error_id() const;
};

}  // namespace leyden
