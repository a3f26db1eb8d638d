#pragma once

#include <google/protobuf/duration.pb.h>

#include <string_view>

#include "leyden/events.hpp"
#include "leyden/models.hpp"
#include "leyden/request.hpp"
#include "leyden/server_state.hpp"
#include "leyden/v1/image_generation_service.pb.h"
#include "leyden/v1/model_service.pb.h"

/// From the messages of the wire to the types of this library, and back.
namespace leyden::detail {

/// Returns a duration in seconds.
Seconds seconds(const google::protobuf::Duration& duration);
/// Writes a duration; throws `std::invalid_argument`, which names `what`, where it cannot be.
google::protobuf::Duration duration(Seconds value, std::string_view what);

v1::Solver to_wire(Solver solver);
v1::OutputFormat to_wire(OutputFormat format);
/// A value that this client does not know is `unspecified`: a reply is not refused for it.
Solver from_wire(v1::Solver solver);
OutputFormat from_wire(v1::OutputFormat format);

Queued queued(const v1::GenerateImageResponse& response);
TextEncoded text_encoded(const v1::GenerateImageResponse& response);
DenoiseProgress denoise_progress(const v1::GenerateImageResponse& response);
/// Joins an image's `header` and `data`; `response` is the one that completed it.
Image image(const v1::GenerateImageResponse& response, const v1::Image& header, Bytes data);
Summary summary(const v1::GenerateImageResponse& response);
Model model(const v1::Model& message);
ServerState server_state(const v1::GetServerStateResponse& message);

/// Returns the bytes of a `bytes` field.
Bytes bytes(std::string_view data);

}  // namespace leyden::detail
