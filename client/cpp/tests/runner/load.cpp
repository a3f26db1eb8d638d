#include "load.hpp"

#include <atomic>
#include <chrono>
#include <future>
#include <vector>

namespace runner {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Json measured(const Ask& ask) {
  leyden::Client client(ask.target, ask.client);
  std::atomic<int> left = ask.requests;
  const auto stream = [&client, &left] {
    std::vector<double> latencies_s;
    while (left-- > 0) {
      const auto started = Clock::now();
      static_cast<void>(client.generate_image({.prompt = "a lake"}));
      latencies_s.push_back(seconds_since(started));
    }
    return latencies_s;
  };
  const auto started = Clock::now();
  std::vector<std::future<std::vector<double>>> streams;
  for (int index = 0; index < ask.streams; ++index) {
    streams.push_back(std::async(std::launch::async, stream));
  }
  Json latencies_s = Json::array();
  for (auto& one : streams) {
    for (const double latency_s : one.get()) {
      latencies_s.push_back(latency_s);
    }
  }
  return {{"name", ask.name}, {"latencies_s", latencies_s}, {"elapsed_s", seconds_since(started)}};
}

}  // namespace runner
