#pragma once

#include <grpc/support/time.h>

#include <chrono>
#include <optional>
#include <stop_token>

#include "leyden/time.hpp"

namespace leyden::detail {

/// When a call, or a line of calls, must have ended.
class Deadline {
 public:
  /// Counts from now. Throws `std::invalid_argument` where `timeout` is no number.
  static Deadline after(std::optional<Seconds> timeout);

  /// The time that is left, 0 where it has passed; absent: there is no deadline.
  [[nodiscard]] std::optional<Seconds> remaining() const;

  /// As gRPC takes it.
  [[nodiscard]] gpr_timespec to_grpc() const;

 private:
  std::optional<std::chrono::steady_clock::time_point> at_;
};

/// Sleeps for `pause`, or until a stop is asked for; returns whether it slept to the end.
bool pause_for(Seconds pause, const std::stop_token& stop);

}  // namespace leyden::detail
