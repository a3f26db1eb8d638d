#pragma once

#include "ask.hpp"

namespace runner {

/// Does what is asked by a client of its own, and says what was seen.
Json answered(const Ask& ask);

}  // namespace runner
