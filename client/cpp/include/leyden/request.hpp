/// @file
/// What to generate, and how to follow it.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "leyden/time.hpp"

namespace leyden {

/// Rule of one denoise step.
enum class Solver : std::uint8_t {
  /// In a request: the model's default. In a reply: one that this client does not know.
  unspecified,
  /// Euler's method: deterministic after the initial noise.
  euler,
  /// Euler with fresh noise at every step, drawn from the image's own seed.
  euler_ancestral,
  /// Latent consistency, for models distilled so: LCM, LCM-LoRA, DMD2.
  lcm,
  /// Trajectory consistency, for models distilled so: TCD, Hyper-SD.
  tcd,
  /// DPM-Solver++ of second order, for models of many steps.
  dpmpp_2m,
  /// The same with fresh noise at every step, drawn from the image's own seed.
  dpmpp_2m_sde,
};

/// Encoding of an image.
enum class OutputFormat : std::uint8_t {
  /// In a request: the server's default. In a reply: one that this client does not know.
  unspecified,
  /// Lossless.
  png,
  /// Small, fast, lossy.
  jpeg,
  /// Smaller, slower, lossy.
  webp,
};

/// Asks for previews with the denoise progress.
struct PreviewOptions {
  /// Longer side in pixels, at most 1,024. 0: one pixel for each latent.
  std::int32_t size_px = 0;
  /// A preview every so many steps, counted back from the last. 0: every step.
  std::int32_t every_steps = 0;
  /// Encoding; unspecified means JPEG.
  OutputFormat format = OutputFormat::unspecified;
};

/// What to generate; made by designated initializers, so that a misspelt field does not compile.
///
/// Zero or empty means the model's default. Where absent and zero differ, the field is optional.
struct GenerateRequest {
  /// What the image should show. The one field that every request needs.
  std::string prompt = {};
  /// Name of the model. Empty: the server's default model.
  std::string model = {};
  /// What not to show; it has an effect only where `guidance_scale` is above 1.
  std::string negative_prompt = {};
  /// Seed of the first image, at least 0; image i has seed + i. Absent: drawn by this client.
  std::optional<std::int64_t> seed = {};
  /// Width in pixels. 0: the model's native width.
  std::int32_t width_px = 0;
  /// Height in pixels. 0: the model's native height.
  std::int32_t height_px = 0;
  /// Number of denoise steps. 0: the model's default.
  std::int32_t num_inference_steps = 0;
  /// Classifier-free guidance scale; off at or below 1. Absent: the model's default.
  std::optional<float> guidance_scale = {};
  /// Rule of a denoise step.
  Solver solver = Solver::unspecified;
  /// Number of images. 0: 1.
  std::int32_t image_count = 0;
  /// Encoding of the images. Unspecified: PNG.
  OutputFormat output_format = OutputFormat::unspecified;
  /// Quality of a JPEG or WebP, 1 to 100; not allowed with PNG. 0: 90.
  std::int32_t output_quality = 0;
  /// Asks for previews. Absent: none.
  std::optional<PreviewOptions> preview = {};
  /// Name of the generation, unused by any other. Empty: a UUID that this client draws.
  std::string request_id = {};
  /// How soon it is served: 1 (first) to 9 (last). Absent or 0: 5.
  std::optional<std::int32_t> priority = {};
};

/// Metadata of calls: names in lower case, and values.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// How to follow a generation.
struct GenerateOptions {
  /// Deadline of the whole. Absent: none.
  ///
  /// A server looks at a deadline only where nothing lingers, so that a timeout without `linger`
  /// sends a linger of 0: the server refuses at once what it cannot end in time and serves
  /// earlier deadlines first, and a broken connection runs the generation again. With both,
  /// nothing is refused early.
  std::optional<Seconds> timeout = {};
  /// For how long the generation goes on when its connection breaks; so long this client tries
  /// to come back to it. 0: a broken connection is an error at once, and the server ends the
  /// generation. Absent: 15 s; with a `timeout` the server is told 0 all the same.
  std::optional<Seconds> linger = {};
  /// Whoever asks its source to stop cancels the generation, on the server too.
  std::stop_token stop = {};
  /// Goes with every call that is made for this generation, such as `traceparent`.
  Metadata metadata = {};
};

/// How to follow a generation that runs already, and how to make the other calls.
struct CallOptions {
  /// Deadline of the whole. Absent: none.
  std::optional<Seconds> timeout = {};
  /// Whoever asks its source to stop leaves the call.
  std::stop_token stop = {};
  /// Goes with the call, such as `traceparent`; in a watch, with every call that is made for it.
  Metadata metadata = {};
};

}  // namespace leyden
