#pragma once

#include <grpcpp/support/status.h>

#include "leyden/errors.hpp"

namespace leyden::detail {

/// Reads what the server said in a status and its details.
Failure failure_of(const grpc::Status& status);

/// Throws the kind of `RpcError` that a failure is.
[[noreturn]] void throw_failure(Failure failure);

/// Throws what a status says, unless it says OK.
void throw_unless_ok(const grpc::Status& status);

/// The failure of a deadline that this client set, and that passed.
Failure timed_out(Seconds timeout);

/// The failure of a call that its own caller stopped.
Failure stopped_by_caller();

/// The failure of a call that ran when its client was closed.
Failure closed_while_running();

}  // namespace leyden::detail
