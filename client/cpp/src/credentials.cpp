#include "credentials.hpp"

#include <algorithm>
#include <stdexcept>

namespace leyden::detail {

namespace {

std::string text_of(const std::optional<Pem>& pem) { return pem ? pem->text() : std::string(); }

bool is_key(const std::string& text) {
  constexpr char first = '!';
  constexpr char last = '~';
  return !text.empty() && std::ranges::all_of(text, [](char character) {
    return character >= first && character <= last;
  });
}

}  // namespace

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(
    const std::optional<TlsOptions>& tls) {
  if (!tls) {
    return grpc::InsecureChannelCredentials();
  }
  if (tls->private_key.has_value() != tls->certificate_chain.has_value()) {
    throw std::invalid_argument("private_key and certificate_chain are given both, or neither");
  }
  return grpc::SslCredentials({.pem_root_certs = text_of(tls->root_certificates),
                               .pem_private_key = text_of(tls->private_key),
                               .pem_cert_chain = text_of(tls->certificate_chain)});
}

Metadata call_metadata(const ClientOptions& options) {
  auto metadata = options.metadata;
  if (options.api_key) {
    if (!is_key(*options.api_key)) {
      throw std::invalid_argument("api_key must be one word of printable ASCII characters");
    }
    metadata.emplace_back("authorization", "Bearer " + *options.api_key);
  }
  return metadata;
}

}  // namespace leyden::detail
