#include "utf8.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace leyden::detail {

namespace {

/// A line of table 3-7 of the Unicode Standard: which bytes may begin a sequence, and what its
/// second byte may be. Those after it are 0x80 to 0xBF.
struct Lead {
  std::uint8_t first;
  std::uint8_t last;
  std::size_t length;
  std::uint8_t second_first;
  std::uint8_t second_last;
};

constexpr std::array<Lead, 9> leads{{
    {0x00, 0x7F, 1, 0x80, 0xBF},
    {0xC2, 0xDF, 2, 0x80, 0xBF},
    {0xE0, 0xE0, 3, 0xA0, 0xBF},
    {0xE1, 0xEC, 3, 0x80, 0xBF},
    {0xED, 0xED, 3, 0x80, 0x9F},
    {0xEE, 0xEF, 3, 0x80, 0xBF},
    {0xF0, 0xF0, 4, 0x90, 0xBF},
    {0xF1, 0xF3, 4, 0x80, 0xBF},
    {0xF4, 0xF4, 4, 0x80, 0x8F},
}};

/// Returns the length of the sequence that `text` begins with; 0: it is none.
std::size_t sequence_length(std::string_view text) noexcept {
  const auto byte = [text](std::size_t index) { return static_cast<std::uint8_t>(text[index]); };
  for (const Lead& lead : leads) {
    if (byte(0) < lead.first || byte(0) > lead.last || text.size() < lead.length) {
      continue;
    }
    if (lead.length > 1 && (byte(1) < lead.second_first || byte(1) > lead.second_last)) {
      return 0;
    }
    for (std::size_t index = 2; index < lead.length; ++index) {
      if (byte(index) < 0x80 || byte(index) > 0xBF) {
        return 0;
      }
    }
    return lead.length;
  }
  return 0;
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    if (length == 0) {
      return false;
    }
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace leyden::detail
