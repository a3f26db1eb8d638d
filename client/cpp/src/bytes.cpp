#include "leyden/bytes.hpp"

#include <cerrno>
#include <fstream>
#include <ios>
#include <random>
#include <string>
#include <system_error>

namespace leyden {

namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, std::span<const std::byte> data) {
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  // A stream writes characters; reading any object's bytes as such is allowed.
  file.write(reinterpret_cast<const char*>(data.data()),  // NOLINT(*-reinterpret-cast)
             static_cast<std::streamsize>(data.size()));
  file.close();
  if (!file) {
    throw std::system_error(errno == 0 ? EIO : errno, std::generic_category(), path.string());
  }
}

/// Follows symlinks, whether what they point to is there or not.
fs::path behind_links(fs::path path) {
  constexpr int most_links = 40;  // as Linux has it
  for (int followed = 0; followed < most_links && fs::is_symlink(path); ++followed) {
    path = path.parent_path() / fs::read_symlink(path);
  }
  return path;
}

}  // namespace

void save(const fs::path& path, std::span<const std::byte> data) {
  // Through a symlink, so that what it points to is replaced and not the link.
  const fs::path target = behind_links(path);
  if (fs::exists(target) && !fs::is_regular_file(target)) {
    // A rename would put a plain file in the place of /dev/null or a pipe.
    write(target, data);
    return;
  }
  // Beside the target, where a rename is atomic.
  fs::path part = target;
  part += ".";
  part += std::to_string(std::random_device{}());
  part += ".part";
  try {
    write(part, data);
    fs::rename(part, target);
  } catch (...) {
    std::error_code ignored;
    fs::remove(part, ignored);
    throw;
  }
}

}  // namespace leyden
