#include "digest.hpp"

#include <openssl/evp.h>

#include <array>
#include <iomanip>
#include <span>
#include <sstream>
#include <stdexcept>

namespace runner {

std::string sha256(const leyden::Bytes& data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (EVP_Digest(data.data(), data.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("OpenSSL cannot make a SHA-256");
  }
  std::ostringstream text;
  text << std::hex << std::setfill('0');
  for (const unsigned char byte : std::span(digest).first(length)) {
    text << std::setw(2) << static_cast<unsigned int>(byte);
  }
  return text.str();
}

}  // namespace runner
