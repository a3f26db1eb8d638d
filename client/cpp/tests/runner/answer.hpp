#pragma once

#include <exception>

#include "ask.hpp"

namespace runner {

/// Returns the name of an event's kind in the API.
std::string kind_of(const leyden::Event& event);

/// What was seen of one call, as the harness reads it.
class Answer {
 public:
  explicit Answer(const std::string& name);

  /// Writes down an event.
  void record(const leyden::Event& event);
  void set_request_id(const std::string& request_id) { json_["request_id"] = request_id; }
  void set_left(const std::string& by) { json_["left"] = by; }
  void add_model(const leyden::Model& model) { json_["models"].push_back(model.name); }
  void set_state(const leyden::ServerState& state);
  /// Writes down the exception that ended the call.
  void set_error(const std::exception& error);

  [[nodiscard]] const Json& json() const { return json_; }

 private:
  void record_image(const leyden::Image& image);

  Json json_;
};

}  // namespace runner
