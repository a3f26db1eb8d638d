/// @file
/// The bytes of an encoded picture.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

namespace leyden {

/// An encoded picture.
using Bytes = std::vector<std::byte>;

/// Writes `data` to `path`, whole or not at all: no reader ever sees a part of it.
///
/// @throws std::system_error The file cannot be written.
void save(const std::filesystem::path& path, std::span<const std::byte> data);

}  // namespace leyden
