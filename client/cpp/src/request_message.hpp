#pragma once

#include "leyden/request.hpp"
#include "leyden/v1/image_generation_service.pb.h"

namespace leyden::detail {

/// For how long a generation outlives a broken connection, unless told otherwise.
inline constexpr Seconds default_linger{15};
/// For how long a generation goes on that was started to be left alone.
inline constexpr Seconds detached_linger{600};

/// Writes a request that can be sent again: with an id and a seed, drawn where not given. The
/// server is the one that judges its values.
///
/// A server refuses what it cannot end within a call's deadline only where nothing lingers. So a
/// request with a timeout lingers only if `options.linger` is given.
///
/// Throws `std::invalid_argument` for what cannot be put on the wire.
v1::GenerateImageRequest repeatable_request(const GenerateRequest& request,
                                            const GenerateOptions& options);

}  // namespace leyden::detail
