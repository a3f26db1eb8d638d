#include "deadline.hpp"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <stdexcept>

namespace leyden::detail {

namespace {

/// Longer than any call, and far from what clocks can count to.
constexpr Seconds longest{1e9};

}  // namespace

Deadline Deadline::after(std::optional<Seconds> timeout) {
  Deadline deadline;
  if (!timeout) {
    return deadline;
  }
  if (std::isnan(timeout->count())) {
    throw std::invalid_argument("the timeout is not a number of seconds");
  }
  if (*timeout < longest) {
    const Seconds counted = std::max(*timeout, Seconds::zero());
    deadline.at_ = std::chrono::steady_clock::now() +
                   std::chrono::duration_cast<std::chrono::steady_clock::duration>(counted);
  }
  return deadline;
}

std::optional<Seconds> Deadline::remaining() const {
  if (!at_) {
    return std::nullopt;
  }
  return std::max(Seconds(*at_ - std::chrono::steady_clock::now()), Seconds::zero());
}

gpr_timespec Deadline::to_grpc() const {
  const auto left = remaining();
  if (!left) {
    return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  }
  const auto micros = std::chrono::ceil<std::chrono::microseconds>(*left);
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_micros(micros.count(), GPR_TIMESPAN));
}

bool pause_for(Seconds pause, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_for(lock, stop, pause, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace leyden::detail
