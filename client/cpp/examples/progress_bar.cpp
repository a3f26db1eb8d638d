// Generates one image, shows how far it is, and writes the file:
//
//     leyden-progress-bar "a lighthouse at dusk" lighthouse.png [HOST:PORT]

#include <cstddef>
#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <variant>

#include "leyden/client.hpp"

namespace {

constexpr std::size_t bar_width = 40;

std::string bar(const leyden::DenoiseProgress& progress) {
  const auto done = bar_width * static_cast<std::size_t>(progress.step) /
                    static_cast<std::size_t>(progress.total_steps);
  return "[" + std::string(done, '#') + std::string(bar_width - done, '.') + "] " +
         std::to_string(progress.step) + "/" + std::to_string(progress.total_steps);
}

void show(const leyden::Event& event) {
  if (const auto* queued = std::get_if<leyden::Queued>(&event)) {
    std::cerr << "\rwaiting, " << queued->position << " before this one" << std::flush;
  } else if (const auto* progress = std::get_if<leyden::DenoiseProgress>(&event)) {
    std::cerr << "\r\x1b[K" << bar(*progress) << std::flush;
  } else if (const auto* summary = std::get_if<leyden::Summary>(&event)) {
    std::cerr << "\n" << summary->model << ", " << summary->bill.total.count() << " s\n";
    for (const auto& warning : summary->warnings) {
      std::cerr << "warning: " << warning.message << "\n";
    }
  }
}

void draw(const std::string& prompt, const std::string& path, const std::string& target) {
  leyden::Client client(target);
  for (const leyden::Event& event : client.stream_image({.prompt = prompt})) {
    show(event);
    if (const auto* image = std::get_if<leyden::Image>(&event)) {
      image->save(path);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::span arguments(argv, static_cast<std::size_t>(argc));
  if (arguments.size() != 3 && arguments.size() != 4) {
    std::cerr << "usage: leyden-progress-bar PROMPT FILE [HOST:PORT]\n";
    return 2;
  }
  try {
    draw(arguments[1], arguments[2],
         arguments.size() == 4 ? arguments[3] : std::string(leyden::default_target));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "\n" << error.what() << "\n";
    return 1;
  }
}
