#pragma once

#include <string_view>

namespace leyden::detail {

/// Whether `text` is UTF-8 as the Unicode Standard has it: shortest forms, no surrogates.
bool is_utf8(std::string_view text) noexcept;

}  // namespace leyden::detail
