#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "leyden/client.hpp"

namespace runner {

using Json = nlohmann::ordered_json;

/// When to leave a stream, and how.
struct Leave {
  std::string by;
  std::string after;
  int count = 1;
};

/// What the harness asks for: one line of standard input.
struct Ask {
  std::string name;
  std::string call;
  std::string target;
  leyden::ClientOptions client;
  leyden::GenerateRequest request;
  std::optional<leyden::Seconds> timeout;
  std::optional<leyden::Seconds> linger;
  std::optional<std::int64_t> after_event_index;
  std::optional<Leave> leave;
  std::optional<std::chrono::milliseconds> pause;
  leyden::Metadata metadata;
  bool misspelt = false;
  int streams = 0;
  int requests = 0;
};

/// Reads an ask; throws where it has what no ask has.
Ask read_ask(const Json& json);

}  // namespace runner
