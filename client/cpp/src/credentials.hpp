#pragma once

#include <grpcpp/security/credentials.h>

#include <memory>
#include <optional>

#include "leyden/client.hpp"

namespace leyden::detail {

/// Returns gRPC's credentials; without TLS those for plaintext. Throws `std::invalid_argument`
/// where of a private key and its certificates only one is given.
std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const std::optional<TlsOptions>& tls);

/// Returns what goes with every call, an API key's header among it. Throws
/// `std::invalid_argument` where no key can look like this; the text does not show it.
Metadata call_metadata(const ClientOptions& options);

}  // namespace leyden::detail
