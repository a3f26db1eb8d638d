#include "leyden/security.hpp"

#include <cerrno>
#include <fstream>
#include <ios>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace leyden {

namespace {

// gRPC takes anything, and fails at the first call with a text about the connection.
void check_pem(const std::string& text, const std::string& whence) {
  if (text.find("-----BEGIN ") == std::string::npos) {
    throw std::invalid_argument(whence + ": not a PEM, which has a line -----BEGIN ...-----");
  }
}

}  // namespace

Pem Pem::from_text(std::string text) {
  check_pem(text, "the text");
  return Pem(std::move(text));
}

Pem Pem::from_file(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    throw std::system_error(errno == 0 ? EIO : errno, std::generic_category(), path.string());
  }
  check_pem(text.str(), path.string());
  return Pem(std::move(text).str());
}

}  // namespace leyden
