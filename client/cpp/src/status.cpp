#include "status.hpp"

#include <array>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "leyden/status_details/error_details.pb.h"
#include "leyden/status_details/status.pb.h"
#include "wire.hpp"

namespace leyden::detail {

namespace {

// By hand and not by Any::UnpackTo, whose names must be the messages' own: these stubs have
// another package than google.rpc, so that a program may link those of googleapis too.
template <typename Message>
bool unpack(const google::protobuf::Any& detail, std::string_view name, Message& message) {
  return std::string_view(detail.type_url()).ends_with(name) &&
         message.ParseFromString(detail.value());
}

void read_detail(const google::protobuf::Any& detail, Failure& failure) {
  status_details::ErrorInfo info;
  status_details::BadRequest request;
  status_details::RetryInfo retry;
  if (unpack(detail, "/google.rpc.ErrorInfo", info)) {
    failure.reason = info.reason();
    failure.metadata = {info.metadata().begin(), info.metadata().end()};
  } else if (unpack(detail, "/google.rpc.BadRequest", request)) {
    for (const auto& violation : request.field_violations()) {
      failure.violations.push_back({violation.field(), violation.description()});
    }
  } else if (unpack(detail, "/google.rpc.RetryInfo", retry) && retry.has_retry_delay()) {
    failure.retry_after = seconds(retry.retry_delay());
  }
}

// What gRPC says of a message over its limit, in C, Go and Java; the code alone is a proxy's
// overload too.
bool is_over_the_limit(const Failure& failure) {
  return failure.code == StatusCode::resource_exhausted && failure.reason.empty() &&
         (failure.message.find("larger than max") != std::string::npos ||
          failure.message.find("exceeds maximum size") != std::string::npos);
}

template <typename Kind>
[[noreturn]] void throw_kind(Failure&& failure) {
  throw Kind(std::move(failure));
}

using Throw = void (*)(Failure&&);

/// Where one code has several meanings, the reason tells them apart.
constexpr std::array<std::pair<std::string_view, Throw>, 6> kind_of_reason{{
    {"GENERATION_NOT_FOUND", throw_kind<GenerationNotFoundError>},
    {"MANAGED_BY_SERVE_CONFIG", throw_kind<ModelsManagedError>},
    {"MODEL_LOAD_FAILED", throw_kind<ModelLoadError>},
    {"NO_RESOURCES", throw_kind<NoResourcesError>},
    {"OUT_OF_MEMORY", throw_kind<OutOfMemoryError>},
    {"READER_TOO_SLOW", throw_kind<ReaderTooSlowError>},
}};

constexpr std::array<std::pair<StatusCode, Throw>, 12> kind_of_code{{
    {StatusCode::invalid_argument, throw_kind<InvalidArgumentError>},
    {StatusCode::not_found, throw_kind<NotFoundError>},
    {StatusCode::out_of_range, throw_kind<EventsExpiredError>},
    {StatusCode::failed_precondition, throw_kind<FailedPreconditionError>},
    {StatusCode::already_exists, throw_kind<AlreadyExistsError>},
    {StatusCode::resource_exhausted, throw_kind<OverloadedError>},
    {StatusCode::unavailable, throw_kind<UnavailableError>},
    {StatusCode::unauthenticated, throw_kind<UnauthenticatedError>},
    {StatusCode::permission_denied, throw_kind<PermissionDeniedError>},
    {StatusCode::deadline_exceeded, throw_kind<DeadlineExceededError>},
    {StatusCode::cancelled, throw_kind<GenerationCancelledError>},
    {StatusCode::internal, throw_kind<InternalError>},
}};

}  // namespace

Failure failure_of(const grpc::Status& status) {
  Failure failure;
  failure.code = static_cast<StatusCode>(status.error_code());
  failure.message = status.error_message();
  if (failure.message.empty()) {
    failure.message = to_string(failure.code);
  }
  status_details::Status details;
  // Details that cannot be read leave what the code and message say.
  if (details.ParseFromString(status.error_details())) {
    for (const auto& detail : details.details()) {
      read_detail(detail, failure);
    }
  }
  return failure;
}

void throw_failure(Failure failure) {
  if (is_over_the_limit(failure)) {
    throw MessageTooLargeError(std::move(failure));
  }
  for (const auto& [reason, throw_it] : kind_of_reason) {
    if (failure.reason == reason) {
      throw_it(std::move(failure));
    }
  }
  for (const auto& [code, throw_it] : kind_of_code) {
    if (failure.code == code) {
      throw_it(std::move(failure));
    }
  }
  throw RpcError(std::move(failure));
}

void throw_unless_ok(const grpc::Status& status) {
  if (!status.ok()) {
    throw_failure(failure_of(status));
  }
}

Failure timed_out(Seconds timeout) {
  std::ostringstream message;
  message << "the timeout of " << timeout.count() << " s passed";
  return {.code = StatusCode::deadline_exceeded, .message = message.str()};
}

Failure stopped_by_caller() {
  return {.code = StatusCode::cancelled, .message = "the caller stopped the call"};
}

Failure closed_while_running() {
  return {.code = StatusCode::cancelled, .message = "the client was closed while the call ran"};
}

}  // namespace leyden::detail
