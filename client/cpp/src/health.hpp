#pragma once

#include "connection.hpp"
#include "deadline.hpp"

namespace leyden::detail {

/// Waits until the server's health service says SERVING; throws as `Client::wait_until_ready`.
void wait_until_serving(const Connection& connection, const Deadline& deadline,
                        const std::stop_token& stop);

}  // namespace leyden::detail
