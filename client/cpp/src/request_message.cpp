#include "request_message.hpp"

#include <array>
#include <cstdint>
#include <iomanip>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>

#include "utf8.hpp"
#include "wire.hpp"

namespace leyden::detail {

namespace {

// Of every use anew: std::random_device may not be shared by threads.
std::uint32_t draw() { return std::random_device{}(); }

/// Draws a UUID of version 4, whose 122 random bits nobody guesses.
std::string draw_uuid() {
  std::array<std::uint32_t, 4> words{draw(), draw(), draw(), draw()};
  words[1] = (words[1] & 0xFFFF0FFFU) | 0x00004000U;  // the version
  words[2] = (words[2] & 0x3FFFFFFFU) | 0x80000000U;  // the variant
  std::ostringstream text;
  text << std::hex << std::setfill('0');
  text << std::setw(8) << words[0] << '-';
  text << std::setw(4) << (words[1] >> 16U) << '-' << std::setw(4) << (words[1] & 0xFFFFU) << '-';
  text << std::setw(4) << (words[2] >> 16U) << '-' << std::setw(4) << (words[2] & 0xFFFFU);
  text << std::setw(8) << words[3];
  return text.str();
}

// protobuf sends other bytes too, and the server then says INTERNAL.
const std::string& checked(const std::string& text, const char* field) {
  if (!is_utf8(text)) {
    throw std::invalid_argument(std::string(field) + " is not UTF-8");
  }
  return text;
}

}  // namespace

v1::GenerateImageRequest repeatable_request(const GenerateRequest& request,
                                            const GenerateOptions& options) {
  v1::GenerateImageRequest message;
  message.set_prompt(checked(request.prompt, "prompt"));
  message.set_model(checked(request.model, "model"));
  message.set_negative_prompt(checked(request.negative_prompt, "negative_prompt"));
  // As the server draws: short enough to be typed in again.
  message.set_seed(request.seed ? *request.seed : draw());
  message.set_width_px(request.width_px);
  message.set_height_px(request.height_px);
  message.set_num_inference_steps(request.num_inference_steps);
  if (request.guidance_scale) {
    message.set_guidance_scale(*request.guidance_scale);
  }
  message.set_solver(to_wire(request.solver));
  message.set_image_count(request.image_count);
  message.set_output_format(to_wire(request.output_format));
  message.set_output_quality(request.output_quality);
  if (request.preview) {
    auto& preview = *message.mutable_preview();
    preview.set_size_px(request.preview->size_px);
    preview.set_every_steps(request.preview->every_steps);
    preview.set_format(to_wire(request.preview->format));
  }
  message.set_request_id(request.request_id.empty() ? draw_uuid()
                                                    : checked(request.request_id, "request_id"));
  const Seconds unless_told = options.timeout ? Seconds::zero() : default_linger;
  const Seconds linger = options.linger.value_or(unless_told);
  if (linger != Seconds::zero()) {
    *message.mutable_linger_duration() = duration(linger, "linger");
  }
  if (request.priority) {
    message.set_priority(*request.priority);
  }
  return message;
}

}  // namespace leyden::detail
