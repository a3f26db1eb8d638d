/// @file
/// How this client speaks of time.
#pragma once

#include <chrono>

namespace leyden {

/// A length of time in seconds; `2s`, `300ms` and every other `std::chrono` duration turn into it.
using Seconds = std::chrono::duration<double>;

}  // namespace leyden
