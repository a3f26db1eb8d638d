#include "wire.hpp"

#include <cmath>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

namespace leyden::detail {

namespace {

/// What protobuf allows for a Duration: about 10,000 years.
constexpr double longest_duration_s = 315'576'000'000.0;
constexpr double nanos_of_a_second = 1e9;

Preview preview(const v1::Preview& message) {
  return {
      .data = bytes(message.data()),
      .format = from_wire(message.format()),
      .width_px = message.width_px(),
      .height_px = message.height_px(),
  };
}

ImageBill image_bill(const v1::ImageBill& message) {
  ImageBill bill{
      .image_index = message.image_index(),
      .steps = {},
      .vae_decode = seconds(message.vae_decode_duration()),
      .image_encode = seconds(message.image_encode_duration()),
      .denoiser_replica = message.denoiser_replica(),
      .image_decoder_replica = message.image_decoder_replica(),
  };
  for (const auto& step : message.steps()) {
    bill.steps.push_back({.duration = seconds(step.duration()), .batch_rows = step.batch_rows()});
  }
  return bill;
}

Bill bill(const v1::Bill& message) {
  Bill bill{
      .queue = seconds(message.queue_duration()),
      .text_encode = seconds(message.text_encode_duration()),
      .total = seconds(message.total_duration()),
      .text_encoder_replica = message.text_encoder_replica(),
      .gateway_replica = message.gateway_replica(),
      .images = {},
  };
  for (const auto& image : message.images()) {
    bill.images.push_back(image_bill(image));
  }
  return bill;
}

ModelState from_wire(v1::ModelState state) {
  switch (state) {
    case v1::MODEL_STATE_READY:
      return ModelState::ready;
    case v1::MODEL_STATE_LOADING:
      return ModelState::loading;
    case v1::MODEL_STATE_UNAVAILABLE:
      return ModelState::unavailable;
    case v1::MODEL_STATE_UNLOADING:
      return ModelState::unloading;
    default:
      return ModelState::unspecified;
  }
}

StageKind from_wire(v1::StageKind kind) {
  switch (kind) {
    case v1::STAGE_KIND_TEXT_ENCODER:
      return StageKind::text_encoder;
    case v1::STAGE_KIND_DENOISER:
      return StageKind::denoiser;
    case v1::STAGE_KIND_VAE:
      return StageKind::vae;
    default:
      return StageKind::unspecified;
  }
}

StageState stage_state(const v1::StageState& message) {
  StageState stage{
      .name = message.name(),
      .kind = from_wire(message.kind()),
      .models = {message.models().begin(), message.models().end()},
      .running_replicas = message.running_replicas(),
      .wanted_replicas = message.wanted_replicas(),
      .running_count = message.running_count(),
      .waiting_count = message.waiting_count(),
      .busy_share = {},
      .problem = message.problem(),
  };
  if (message.has_busy_share()) {
    stage.busy_share = message.busy_share();
  }
  return stage;
}

}  // namespace

Seconds seconds(const google::protobuf::Duration& duration) {
  return Seconds(static_cast<double>(duration.seconds()) + duration.nanos() / nanos_of_a_second);
}

google::protobuf::Duration duration(Seconds value, std::string_view what) {
  if (!(std::abs(value.count()) <= longest_duration_s)) {
    throw std::invalid_argument(std::string(what) + " is not a number of seconds that can be sent");
  }
  double whole_s = std::trunc(value.count());
  double nanos = std::round((value.count() - whole_s) * nanos_of_a_second);
  if (std::abs(nanos) >= nanos_of_a_second) {
    whole_s += nanos > 0 ? 1 : -1;
    nanos = 0;
  }
  google::protobuf::Duration message;
  message.set_seconds(static_cast<std::int64_t>(whole_s));
  message.set_nanos(static_cast<std::int32_t>(nanos));
  return message;
}

v1::Solver to_wire(Solver solver) {
  switch (solver) {
    case Solver::unspecified:
      return v1::SOLVER_UNSPECIFIED;
    case Solver::euler:
      return v1::SOLVER_EULER;
    case Solver::euler_ancestral:
      return v1::SOLVER_EULER_ANCESTRAL;
    case Solver::lcm:
      return v1::SOLVER_LCM;
    case Solver::tcd:
      return v1::SOLVER_TCD;
    case Solver::dpmpp_2m:
      return v1::SOLVER_DPMPP_2M;
    case Solver::dpmpp_2m_sde:
      return v1::SOLVER_DPMPP_2M_SDE;
  }
  throw std::invalid_argument("solver is none that this client knows");
}

v1::OutputFormat to_wire(OutputFormat format) {
  switch (format) {
    case OutputFormat::unspecified:
      return v1::OUTPUT_FORMAT_UNSPECIFIED;
    case OutputFormat::png:
      return v1::OUTPUT_FORMAT_PNG;
    case OutputFormat::jpeg:
      return v1::OUTPUT_FORMAT_JPEG;
    case OutputFormat::webp:
      return v1::OUTPUT_FORMAT_WEBP;
  }
  throw std::invalid_argument("the output format is none that this client knows");
}

Solver from_wire(v1::Solver solver) {
  switch (solver) {
    case v1::SOLVER_EULER:
      return Solver::euler;
    case v1::SOLVER_EULER_ANCESTRAL:
      return Solver::euler_ancestral;
    case v1::SOLVER_LCM:
      return Solver::lcm;
    case v1::SOLVER_TCD:
      return Solver::tcd;
    case v1::SOLVER_DPMPP_2M:
      return Solver::dpmpp_2m;
    case v1::SOLVER_DPMPP_2M_SDE:
      return Solver::dpmpp_2m_sde;
    default:
      return Solver::unspecified;
  }
}

OutputFormat from_wire(v1::OutputFormat format) {
  switch (format) {
    case v1::OUTPUT_FORMAT_PNG:
      return OutputFormat::png;
    case v1::OUTPUT_FORMAT_JPEG:
      return OutputFormat::jpeg;
    case v1::OUTPUT_FORMAT_WEBP:
      return OutputFormat::webp;
    default:
      return OutputFormat::unspecified;
  }
}

Queued queued(const v1::GenerateImageResponse& response) {
  const auto& message = response.queued();
  Queued event{
      .request_id = response.request_id(),
      .event_index = response.event_index(),
      .position = message.position(),
      .expected_wait = {},
  };
  if (message.has_expected_wait_duration()) {
    event.expected_wait = seconds(message.expected_wait_duration());
  }
  return event;
}

TextEncoded text_encoded(const v1::GenerateImageResponse& response) {
  return {
      .request_id = response.request_id(),
      .event_index = response.event_index(),
      .token_count = response.text_encoded().token_count(),
      .truncated = response.text_encoded().truncated(),
  };
}

DenoiseProgress denoise_progress(const v1::GenerateImageResponse& response) {
  const auto& message = response.denoise_progress();
  DenoiseProgress event{
      .request_id = response.request_id(),
      .event_index = response.event_index(),
      .image_index = message.image_index(),
      .step = message.step(),
      .total_steps = message.total_steps(),
      .timestep = message.timestep(),
      .sigma = message.sigma(),
      .elapsed = seconds(message.elapsed_duration()),
      .remaining = seconds(message.remaining_duration()),
      .batch_rows = message.batch_rows(),
      .preview = {},
  };
  if (message.has_preview()) {
    event.preview = preview(message.preview());
  }
  return event;
}

Image image(const v1::GenerateImageResponse& response, const v1::Image& header, Bytes data) {
  return {
      .request_id = response.request_id(),
      .event_index = response.event_index(),
      .image_index = header.image_index(),
      .seed = header.seed(),
      .format = from_wire(header.format()),
      .width_px = header.width_px(),
      .height_px = header.height_px(),
      .data = std::move(data),
  };
}

Summary summary(const v1::GenerateImageResponse& response) {
  const auto& message = response.summary();
  Summary event{
      .request_id = response.request_id(),
      .event_index = response.event_index(),
      .warnings = {},
      .model = message.model(),
      .model_revision = message.model_revision(),
      .retries = message.retries(),
      .width_px = message.width_px(),
      .height_px = message.height_px(),
      .num_inference_steps = message.num_inference_steps(),
      .guidance_scale = message.guidance_scale(),
      .solver = from_wire(message.solver()),
      .bill = bill(message.bill()),
  };
  for (const auto& warning : message.warnings()) {
    event.warnings.push_back(
        {.reason = warning.reason(), .field = warning.field(), .message = warning.message()});
  }
  return event;
}

Model model(const v1::Model& message) {
  Model model{
      .name = message.name(),
      .description = message.description(),
      .state = from_wire(message.state()),
      .unavailable_reason = message.unavailable_reason(),
      .is_default = message.is_default(),
      .revision = message.revision(),
      .license = message.license(),
      .default_width_px = message.default_width_px(),
      .default_height_px = message.default_height_px(),
      .min_size_px = message.min_size_px(),
      .max_size_px = message.max_size_px(),
      .size_multiple_px = message.size_multiple_px(),
      .default_num_inference_steps = message.default_num_inference_steps(),
      .min_num_inference_steps = message.min_num_inference_steps(),
      .max_num_inference_steps = message.max_num_inference_steps(),
      .default_guidance_scale = message.default_guidance_scale(),
      .min_guidance_scale = message.min_guidance_scale(),
      .max_guidance_scale = message.max_guidance_scale(),
      .solvers = {},
      .output_formats = {},
      .max_image_count = message.max_image_count(),
      .max_prompt_tokens = message.max_prompt_tokens(),
      .previews = message.previews(),
      .files_present = message.files_present(),
      .known_words = {message.known_words().begin(), message.known_words().end()},
  };
  for (const int solver : message.solvers()) {
    model.solvers.push_back(from_wire(static_cast<v1::Solver>(solver)));
  }
  for (const int format : message.output_formats()) {
    model.output_formats.push_back(from_wire(static_cast<v1::OutputFormat>(format)));
  }
  return model;
}

ServerState server_state(const v1::GetServerStateResponse& message) {
  ServerState state{
      .stages = {},
      .gateways = {},
      .bottleneck = message.bottleneck(),
      .bottleneck_reason = message.bottleneck_reason(),
  };
  for (const auto& stage : message.stages()) {
    state.stages.push_back(stage_state(stage));
  }
  for (const auto& gateway : message.gateways()) {
    state.gateways.push_back({
        .replica = gateway.replica(),
        .uptime = seconds(gateway.uptime_duration()),
        .draining = gateway.draining(),
        .open_stream_count = gateway.open_stream_count(),
        .waiting_image_count = gateway.waiting_image_count(),
    });
  }
  return state;
}

Bytes bytes(std::string_view data) {
  const auto view = std::as_bytes(std::span(data));
  return {view.begin(), view.end()};
}

}  // namespace leyden::detail
