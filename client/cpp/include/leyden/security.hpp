/// @file
/// How a client makes sure of the server, and who it says that it is.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace leyden {

/// A certificate, a chain of them, or a key, in PEM.
class Pem {
 public:
  /// Takes the text of a PEM.
  ///
  /// @throws std::invalid_argument It is none: it has no line `-----BEGIN …-----`.
  static Pem from_text(std::string text);

  /// Reads a PEM from a file.
  ///
  /// @throws std::system_error The file cannot be read.
  /// @throws std::invalid_argument It is no PEM.
  static Pem from_file(const std::filesystem::path& path);

  /// Returns the text.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  explicit Pem(std::string text) : text_(std::move(text)) {}

  std::string text_;
};

/// What TLS takes; `TlsOptions{}` believes gRPC's own list of public certificates.
struct TlsOptions {
  /// Whom to believe that the server is who it says. Absent: gRPC's own list of public ones.
  std::optional<Pem> root_certificates = {};
  /// Where the server asks for a certificate (mutual TLS): the key of ours.
  std::optional<Pem> private_key = {};
  /// Where the server asks for a certificate: ours, and those up to one that it believes.
  std::optional<Pem> certificate_chain = {};
};

}  // namespace leyden
