/// @file
/// What a generation reports: its events in their order, and the whole at its end.
///
///     Queued            zero or more, until the first DenoiseProgress
///     TextEncoded       once, before the first DenoiseProgress
///     DenoiseProgress   for each image once a step; those of different images may interleave
///     Image             once for each image, whole, after its last DenoiseProgress
///     Summary           once, and last
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "leyden/bytes.hpp"
#include "leyden/request.hpp"
#include "leyden/time.hpp"

namespace leyden {

/// The request was accepted and waits for the denoiser.
struct Queued {
  /// The request's id, the same in every event.
  std::string request_id;
  /// Index of this event in the server's stream.
  std::int64_t event_index = 0;
  /// Number of waiting images that are served before this request's; 0: none.
  std::int32_t position = 0;
  /// Expected time until the first denoise step. Absent: nothing is known yet.
  std::optional<Seconds> expected_wait;
};

/// The prompt is encoded.
struct TextEncoded {
  /// The request's id, the same in every event.
  std::string request_id;
  /// Index of this event in the server's stream.
  std::int64_t event_index = 0;
  /// Length of the prompt in tokens, before it was cut.
  std::int32_t token_count = 0;
  /// Whether the prompt was cut at the text encoder's length.
  bool truncated = false;
};

/// A small picture of the denoised latents as estimated now; not a VAE decode.
struct Preview {
  /// The encoded picture.
  Bytes data;
  /// Encoding of `data`.
  OutputFormat format = OutputFormat::unspecified;
  /// Width in pixels.
  std::int32_t width_px = 0;
  /// Height in pixels.
  std::int32_t height_px = 0;
};

/// A denoise step of one image ended.
struct DenoiseProgress {
  /// The request's id, the same in every event.
  std::string request_id;
  /// Index of this event in the server's stream.
  std::int64_t event_index = 0;
  /// Index of the image, from 0.
  std::int32_t image_index = 0;
  /// The step that ended, from 1 to `total_steps`.
  std::int32_t step = 0;
  /// Number of denoise steps of this image.
  std::int32_t total_steps = 0;
  /// Training timestep at which this step ran the UNet, from 999 (noise) down to 0.
  float timestep = 0;
  /// Noise level (standard deviation) at which this step started.
  float sigma = 0;
  /// Time since the request was accepted.
  Seconds elapsed{};
  /// Estimated time until this image's last denoise step ends; decoding is not in it.
  Seconds remaining{};
  /// Rows of the UNet batch that this step shared, this image's own among them.
  std::int32_t batch_rows = 0;
  /// Where one was asked for at this step and this reader is fast enough.
  std::optional<Preview> preview;
};

/// An image is ready; it is always whole, however it travelled.
struct Image {
  /// The request's id, the same in every event.
  std::string request_id;
  /// Index of this event in the server's stream; of an image in chunks, its last chunk's.
  std::int64_t event_index = 0;
  /// Index of the image, from 0.
  std::int32_t image_index = 0;
  /// Seed that gives this image again.
  std::int64_t seed = 0;
  /// Encoding of `data`.
  OutputFormat format = OutputFormat::unspecified;
  /// Width in pixels.
  std::int32_t width_px = 0;
  /// Height in pixels.
  std::int32_t height_px = 0;
  /// The encoded image: what belongs into a file.
  Bytes data;

  /// Writes the image to `path`, whole or not at all.
  ///
  /// @throws std::system_error The file cannot be written.
  void save(const std::filesystem::path& path) const { leyden::save(path, data); }
};

/// Something about a request that its sender should know, though it was served.
struct RequestWarning {
  /// What kind of warning, in UPPER_SNAKE_CASE.
  std::string reason;
  /// The request's field that the warning is about.
  std::string field;
  /// The warning in words.
  std::string message;
};

/// What one denoise step cost.
struct StepBill {
  /// Time that the step took on the device, for the whole batch.
  Seconds duration{};
  /// Rows of the UNet batch; padding is not counted.
  std::int32_t batch_rows = 0;
};

/// What one image cost.
struct ImageBill {
  /// Index of the image, from 0.
  std::int32_t image_index = 0;
  /// The denoise steps, first to last.
  std::vector<StepBill> steps;
  /// VAE decode, with the wait for it.
  Seconds vae_decode{};
  /// Encoding of the pixels as PNG, JPEG or WebP.
  Seconds image_encode{};
  /// Replica that ran the denoise steps.
  std::string denoiser_replica;
  /// Replica that decoded and encoded the image.
  std::string image_decoder_replica;
};

/// What a generation cost, stage by stage.
struct Bill {
  /// From acceptance to the first denoise step's start, less the text encoding.
  Seconds queue{};
  /// Text encoding.
  Seconds text_encode{};
  /// From acceptance to the summary.
  Seconds total{};
  /// Replica that encoded the text.
  std::string text_encoder_replica;
  /// Gateway replica that served the request.
  std::string gateway_replica;
  /// The share of each image, in the order of their indices.
  std::vector<ImageBill> images;
};

/// The generation is done: what was used, what was ignored, and what it cost.
struct Summary {
  /// The request's id, the same in every event.
  std::string request_id;
  /// Index of this event in the server's stream.
  std::int64_t event_index = 0;
  /// What was ignored, cut or rounded; empty when all was as asked.
  std::vector<RequestWarning> warnings;
  /// Name of the model that ran.
  std::string model;
  /// What identifies the model's UNet: a digest of its weight files, LoRA and scale.
  std::string model_revision;
  /// How many times a stage was run again because a replica died.
  std::int32_t retries = 0;
  /// Width of the images in pixels.
  std::int32_t width_px = 0;
  /// Height of the images in pixels.
  std::int32_t height_px = 0;
  /// Number of denoise steps of each image.
  std::int32_t num_inference_steps = 0;
  /// The guidance scale that was applied.
  float guidance_scale = 0;
  /// The rule of a denoise step that was applied.
  Solver solver = Solver::unspecified;
  /// What the generation cost, stage by stage.
  Bill bill;
};

/// One event of a generation.
using Event = std::variant<Queued, TextEncoded, DenoiseProgress, Image, Summary>;

/// Returns the index of an event in the server's stream.
inline std::int64_t event_index(const Event& event) {
  return std::visit([](const auto& one) { return one.event_index; }, event);
}

/// A generation that is done.
struct Generation {
  /// The request's id: the one that was given, or that this client drew.
  std::string request_id;
  /// The images, in the order of their indices.
  std::vector<Image> images;
  /// What was used, what was ignored, and what it cost.
  Summary summary;
};

}  // namespace leyden
