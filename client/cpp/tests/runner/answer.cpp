#include "answer.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string_view>
#include <typeinfo>
#include <variant>

#include "digest.hpp"

namespace runner {

namespace {

struct KindOf {
  std::string_view operator()(const leyden::Queued&) const { return "queued"; }
  std::string_view operator()(const leyden::TextEncoded&) const { return "text_encoded"; }
  std::string_view operator()(const leyden::DenoiseProgress&) const { return "denoise_progress"; }
  std::string_view operator()(const leyden::Image&) const { return "image"; }
  std::string_view operator()(const leyden::Summary&) const { return "summary"; }
};

std::string_view name_of(leyden::OutputFormat format) {
  switch (format) {
    case leyden::OutputFormat::png:
      return "PNG";
    case leyden::OutputFormat::jpeg:
      return "JPEG";
    case leyden::OutputFormat::webp:
      return "WEBP";
    case leyden::OutputFormat::unspecified:
      break;
  }
  return "UNSPECIFIED";
}

std::string_view name_of(leyden::StageKind kind) {
  switch (kind) {
    case leyden::StageKind::text_encoder:
      return "TEXT_ENCODER";
    case leyden::StageKind::denoiser:
      return "DENOISER";
    case leyden::StageKind::vae:
      return "VAE";
    case leyden::StageKind::unspecified:
      break;
  }
  return "UNSPECIFIED";
}

/// Returns the name of an exception's class, without its namespace.
std::string class_of(const std::exception& error) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, &status), &std::free);
  const std::string_view whole = status == 0 ? name.get() : typeid(error).name();
  const auto colon = whole.rfind(':');
  return std::string(colon == std::string_view::npos ? whole : whole.substr(colon + 1));
}

}  // namespace

std::string kind_of(const leyden::Event& event) { return std::string(std::visit(KindOf(), event)); }

Answer::Answer(const std::string& name) {
  json_["name"] = name;
  json_["request_id"] = nullptr;
  json_["events"] = Json::array();
  json_["images"] = Json::array();
  json_["summary"] = nullptr;
  json_["models"] = Json::array();
  json_["state"] = nullptr;
  json_["left"] = nullptr;
  json_["error"] = nullptr;
}

void Answer::record(const leyden::Event& event) {
  Json entry;
  entry["kind"] = kind_of(event);
  entry["index"] = leyden::event_index(event);
  if (const auto* progress = std::get_if<leyden::DenoiseProgress>(&event)) {
    entry["image_index"] = progress->image_index;
    entry["step"] = progress->step;
    entry["num_steps"] = progress->total_steps;
    if (progress->preview) {
      entry["bytes"] = progress->preview->data.size();
    }
  } else if (const auto* image = std::get_if<leyden::Image>(&event)) {
    entry["image_index"] = image->image_index;
    record_image(*image);
  } else if (const auto* summary = std::get_if<leyden::Summary>(&event)) {
    json_["summary"] = {{"model", summary->model}, {"warnings", Json::array()}};
    for (const auto& warning : summary->warnings) {
      json_["summary"]["warnings"].push_back(warning.reason);
    }
  }
  json_["events"].push_back(entry);
}

void Answer::set_state(const leyden::ServerState& state) {
  Json stages = Json::array();
  for (const auto& stage : state.stages) {
    stages.push_back({{"name", stage.name},
                      {"kind", name_of(stage.kind)},
                      {"models", stage.models},
                      {"running_replicas", stage.running_replicas},
                      {"wanted_replicas", stage.wanted_replicas},
                      {"running_count", stage.running_count},
                      {"waiting_count", stage.waiting_count},
                      {"busy_share", stage.busy_share ? Json(*stage.busy_share) : Json()},
                      {"problem", stage.problem}});
  }
  Json gateways = Json::array();
  for (const auto& gateway : state.gateways) {
    gateways.push_back({{"replica", gateway.replica},
                        {"uptime_s", gateway.uptime.count()},
                        {"draining", gateway.draining},
                        {"open_stream_count", gateway.open_stream_count},
                        {"waiting_image_count", gateway.waiting_image_count}});
  }
  json_["state"] = {{"stages", stages},
                    {"gateways", gateways},
                    {"bottleneck", state.bottleneck},
                    {"bottleneck_reason", state.bottleneck_reason}};
}

void Answer::set_error(const std::exception& error) {
  Json said = {
      {"type", class_of(error)},    {"code", nullptr},         {"reason", ""},
      {"metadata", Json::object()}, {"message", error.what()}, {"violations", Json::array()},
      {"retry_after_s", nullptr}};
  if (const auto* rpc = dynamic_cast<const leyden::RpcError*>(&error)) {
    said["code"] = leyden::to_string(rpc->code());
    said["reason"] = rpc->reason();
    said["metadata"] = rpc->metadata();
    said["message"] = rpc->message();
    for (const auto& violation : rpc->violations()) {
      said["violations"].push_back(
          {{"field", violation.field}, {"description", violation.description}});
    }
    if (const auto delay = rpc->retry_after()) {
      said["retry_after_s"] = delay->count();
    }
  }
  json_["error"] = said;
}

void Answer::record_image(const leyden::Image& image) {
  json_["images"].push_back({{"image_index", image.image_index},
                             {"seed", std::to_string(image.seed)},
                             {"output_format", name_of(image.format)},
                             {"sha256", sha256(image.data)},
                             {"bytes", image.data.size()}});
}

}  // namespace runner
