#pragma once

#include "ask.hpp"

namespace runner {

/// Generates `ask.requests` times by `ask.streams` at once over one client, and says how long each
/// took.
Json measured(const Ask& ask);

}  // namespace runner
