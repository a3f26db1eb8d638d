/// @file
/// What a server does now.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "leyden/time.hpp"

namespace leyden {

/// Which stage of a model.
enum class StageKind : std::uint8_t {
  /// One that this client does not know.
  unspecified,
  /// Both text encoders.
  text_encoder,
  /// The UNet.
  denoiser,
  /// The VAE, and the encoding of image files.
  vae,
};

/// A stage over all of its replicas.
struct StageState {
  /// That of its Serve application; in a server of one process, what that would be.
  std::string name;
  /// Which stage of a model it is.
  StageKind kind = StageKind::unspecified;
  /// Names of the models that share it.
  std::vector<std::string> models;
  /// Replicas that run.
  std::int32_t running_replicas = 0;
  /// Replicas that there are to be now.
  std::int32_t wanted_replicas = 0;
  /// Prompts (of text encoders) or images that its replicas work on.
  std::int32_t running_count = 0;
  /// Prompts or images that wait for it; for a denoiser in the Gateways' lines too.
  std::int32_t waiting_count = 0;
  /// The part of the last 10 s in which its model ran, from 0 to 1: the mean over its replicas.
  /// Absent: none of them has answered.
  std::optional<double> busy_share;
  /// Why it is gone. Empty: it is there, is started, or rests.
  std::string problem;
};

/// A process of the server that speaks gRPC.
struct GatewayState {
  /// Its name, as `Bill::gateway_replica`.
  std::string replica;
  /// For how long it has been there.
  Seconds uptime{};
  /// Whether it refuses new requests because it ends.
  bool draining = false;
  /// Calls that watch a generation.
  std::int32_t open_stream_count = 0;
  /// Images that it has accepted and no denoise step has begun for.
  std::int32_t waiting_image_count = 0;
};

/// What a server does now.
struct ServerState {
  /// The stages of all loaded models, each once, a model's in the order in which an image goes
  /// through them.
  std::vector<StageState> stages;
  /// Those whose lines are counted, the one that has answered first.
  std::vector<GatewayState> gateways;
  /// Name of the stage that holds up the others. Empty: none does.
  std::string bottleneck;
  /// Why, or why none does.
  std::string bottleneck_reason;
};

}  // namespace leyden
