#pragma once

#include <string>

#include "leyden/bytes.hpp"

namespace runner {

/// Returns the SHA-256 of `data` in hexadecimal digits.
std::string sha256(const leyden::Bytes& data);

}  // namespace runner
