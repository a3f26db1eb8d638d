#include "leyden/errors.hpp"

#include <array>
#include <cstddef>
#include <utility>

namespace leyden {

namespace {

std::string in_words(const Failure& failure) {
  std::string text = failure.message;
  for (const FieldViolation& violation : failure.violations) {
    // A server may have put them into its message already.
    if (failure.message.find(violation.description) == std::string::npos) {
      text += "\n  " + violation.field + ": " + violation.description;
    }
  }
  return text;
}

}  // namespace

std::string_view to_string(StatusCode code) noexcept {
  static constexpr std::array<std::string_view, 17> names{
      "OK",
      "CANCELLED",
      "UNKNOWN",
      "INVALID_ARGUMENT",
      "DEADLINE_EXCEEDED",
      "NOT_FOUND",
      "ALREADY_EXISTS",
      "PERMISSION_DENIED",
      "RESOURCE_EXHAUSTED",
      "FAILED_PRECONDITION",
      "ABORTED",
      "OUT_OF_RANGE",
      "UNIMPLEMENTED",
      "INTERNAL",
      "UNAVAILABLE",
      "DATA_LOSS",
      "UNAUTHENTICATED",
  };
  const auto number = static_cast<std::size_t>(code);
  return number < names.size() ? names.at(number) : "UNKNOWN";
}

RpcError::RpcError(Failure failure)
    : Error(in_words(failure)), failure_(std::make_shared<const Failure>(std::move(failure))) {}

std::string InternalError::error_id() const {
  const auto found = metadata().find("error_id");
  return found == metadata().end() ? std::string() : found->second;
}

}  // namespace leyden
