// Answers the asks of the harness (tests/clients) by this library: an ask a line in, an answer a
// line out.

#include <exception>
#include <iostream>
#include <string>

#include "ask.hpp"
#include "call.hpp"
#include "load.hpp"

namespace {

runner::Json answer(const std::string& line) {
  const runner::Json json = runner::Json::parse(line);
  const runner::Ask ask = runner::read_ask(json);
  if (ask.misspelt) {
    // tests/misspelt shows that it does not compile.
    return {{"name", ask.name}, {"compile_time", true}};
  }
  return ask.call == "load" ? runner::measured(ask) : runner::answered(ask);
}

}  // namespace

int main() {
  try {
    std::string line;
    while (std::getline(std::cin, line)) {
      std::cout << answer(line).dump() << '\n' << std::flush;
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
