/// @file
/// The models of a server, and what each accepts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "leyden/request.hpp"

namespace leyden {

/// Whether a model can be used now.
enum class ModelState : std::uint8_t {
  /// One that this client does not know.
  unspecified,
  /// Serves requests; one that comes after a long rest may wait for a stage to start.
  ready,
  /// Being loaded.
  loading,
  /// In the repository, but not loaded; `Model::files_present` says whether it could be.
  unavailable,
  /// Being unloaded: new requests are refused, those that were accepted finish.
  unloading,
};

/// A model and what it accepts. All ranges are inclusive.
struct Model {
  /// Name, as `GenerateRequest::model` takes it.
  std::string name;
  /// One line on what it is.
  std::string description;
  /// Whether it can be used now.
  ModelState state = ModelState::unspecified;
  /// What is missing and how to get it, why its last load failed, or, where the state is
  /// `loading` although it was ready before, which stage has no running replica.
  std::string unavailable_reason;
  /// Whether a request that names no model gets this one.
  bool is_default = false;
  /// What identifies its UNet, as `Summary::model_revision`; empty unless it is loaded.
  std::string revision;
  /// Licence of the weights: an SPDX id where there is one.
  std::string license;
  /// Native width in pixels.
  std::int32_t default_width_px = 0;
  /// Native height in pixels.
  std::int32_t default_height_px = 0;
  /// Smallest width and height in pixels.
  std::int32_t min_size_px = 0;
  /// Largest width and height in pixels.
  std::int32_t max_size_px = 0;
  /// Width and height are multiples of this, in pixels.
  std::int32_t size_multiple_px = 0;
  /// Denoise steps of a request that does not say.
  std::int32_t default_num_inference_steps = 0;
  /// Fewest denoise steps.
  std::int32_t min_num_inference_steps = 0;
  /// Most denoise steps.
  std::int32_t max_num_inference_steps = 0;
  /// Guidance scale of a request that does not say.
  float default_guidance_scale = 0;
  /// Smallest guidance scale.
  float min_guidance_scale = 0;
  /// Largest guidance scale.
  float max_guidance_scale = 0;
  /// Solvers that it can run, the default first.
  std::vector<Solver> solvers;
  /// Formats that it can send, the default first.
  std::vector<OutputFormat> output_formats;
  /// Most images of one request.
  std::int32_t max_image_count = 0;
  /// Length in tokens at which a prompt is cut; 0 where files of it are missing.
  std::int32_t max_prompt_tokens = 0;
  /// Whether it can send previews.
  bool previews = false;
  /// Whether all of its files are at hand: if it is not loaded, nothing is left to fetch.
  bool files_present = false;
  /// The words that it knows, where it was trained on few. Empty: they are not limited so.
  std::vector<std::string> known_words;
};

}  // namespace leyden
