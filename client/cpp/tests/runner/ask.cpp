#include "ask.hpp"

#include <stdexcept>

namespace runner {

namespace {

leyden::OutputFormat output_format(const std::string& name) {
  if (name == "PNG") {
    return leyden::OutputFormat::png;
  }
  if (name == "JPEG") {
    return leyden::OutputFormat::jpeg;
  }
  if (name == "WEBP") {
    return leyden::OutputFormat::webp;
  }
  throw std::invalid_argument("no output format " + name);
}

leyden::GenerateRequest read_request(const Json& json) {
  leyden::GenerateRequest request;
  for (const auto& [field, value] : json.items()) {
    if (field == "prompt") {
      value.get_to(request.prompt);
    } else if (field == "model") {
      value.get_to(request.model);
    } else if (field == "negative_prompt") {
      value.get_to(request.negative_prompt);
    } else if (field == "seed") {
      request.seed = std::stoll(value.get<std::string>());
    } else if (field == "num_inference_steps") {
      value.get_to(request.num_inference_steps);
    } else if (field == "width_px") {
      value.get_to(request.width_px);
    } else if (field == "height_px") {
      value.get_to(request.height_px);
    } else if (field == "guidance_scale") {
      request.guidance_scale = value.get<float>();
    } else if (field == "image_count") {
      value.get_to(request.image_count);
    } else if (field == "output_format") {
      request.output_format = output_format(value.get<std::string>());
    } else if (field == "preview") {
      if (value.get<bool>()) {
        request.preview.emplace();
      }
    } else if (field == "request_id") {
      value.get_to(request.request_id);
    } else if (field == "priority") {
      request.priority = value.get<std::int32_t>();
    } else {
      throw std::invalid_argument("no field " + field);
    }
  }
  return request;
}

leyden::TlsOptions read_tls(const Json& json) {
  leyden::TlsOptions tls;
  if (json.contains("ca")) {
    tls.root_certificates = leyden::Pem::from_file(json.at("ca").get<std::string>());
  }
  if (json.contains("certificate")) {
    tls.certificate_chain = leyden::Pem::from_file(json.at("certificate").get<std::string>());
  }
  if (json.contains("private_key")) {
    tls.private_key = leyden::Pem::from_file(json.at("private_key").get<std::string>());
  }
  return tls;
}

void read_options(const Json& json, Ask& ask) {
  for (const auto& [option, value] : json.items()) {
    if (option == "timeout_s") {
      ask.timeout = leyden::Seconds(value.get<double>());
    } else if (option == "linger_s") {
      ask.linger = leyden::Seconds(value.get<double>());
    } else {
      throw std::invalid_argument("no option " + option);
    }
  }
}

}  // namespace

Ask read_ask(const Json& json) {
  Ask ask;
  ask.name = json.value("name", "");
  ask.call = json.at("call").get<std::string>();
  ask.target = json.value("target", std::string(leyden::default_target));
  if (json.contains("tls")) {
    ask.client.tls = read_tls(json.at("tls"));
  }
  if (json.contains("api_key")) {
    ask.client.api_key = json.at("api_key").get<std::string>();
  }
  if (json.contains("request")) {
    ask.request = read_request(json.at("request"));
  }
  if (json.contains("options")) {
    read_options(json.at("options"), ask);
  }
  if (json.contains("after_event_index")) {
    ask.after_event_index = json.at("after_event_index").get<std::int64_t>();
  }
  if (json.contains("leave")) {
    const Json& leave = json.at("leave");
    ask.leave = Leave{.by = leave.at("by").get<std::string>(),
                      .after = leave.value("after", ""),
                      .count = leave.value("count", 1)};
  }
  if (json.contains("pause_ms")) {
    ask.pause = std::chrono::milliseconds(json.at("pause_ms").get<int>());
  }
  if (json.contains("traceparent")) {
    ask.metadata.emplace_back("traceparent", json.at("traceparent").get<std::string>());
  }
  ask.misspelt = json.contains("misspelt");
  ask.streams = json.value("streams", 0);
  ask.requests = json.value("requests", 0);
  return ask;
}

}  // namespace runner
