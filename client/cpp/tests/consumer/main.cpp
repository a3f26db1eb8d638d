#include <iostream>
#include <leyden/client.hpp>

int main() {
  try {
    leyden::Client client("127.0.0.1:1");
    static_cast<void>(client.get_model());
  } catch (const leyden::UnavailableError& error) {
    std::cout << leyden::version << ": " << leyden::to_string(error.code()) << '\n';
    return 0;
  }
  return 1;
}
