#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <vector>

#include "leyden/client.hpp"
#include "scripted_server.hpp"

namespace leyden {
namespace {

using testing::first;
using testing::ScriptedServer;
using testing::whole_generation;

static_assert(std::ranges::input_range<EventStream>);
static_assert(std::ranges::view<EventStream>);
static_assert(!std::is_copy_constructible_v<EventStream>);
static_assert(!std::is_copy_constructible_v<Client>);
static_assert(std::is_nothrow_move_constructible_v<Client>);

/// A client of a server that stops after three events, and holds.
class Held : public ::testing::Test {
 protected:
  Held() { server_.script = {.events = first(3), .holds = true}; }

  ScriptedServer server_;
  Client client_{server_.target()};
};

TEST(Stream, GivesTheEventsInTheirOrder) {
  ScriptedServer server;
  server.script.events = whole_generation();
  Client client(server.target());
  std::vector<std::size_t> kinds;
  for (const Event& event : client.stream_image({.prompt = "a lake", .seed = 7})) {
    EXPECT_EQ(event_index(event), static_cast<std::int64_t>(kinds.size()));
    kinds.push_back(event.index());
  }
  EXPECT_EQ(kinds, (std::vector<std::size_t>{0, 1, 2, 2, 3, 4}));
  EXPECT_EQ(server.requests().at(0).seed(), 7);
  EXPECT_TRUE(server.cancels().empty());
}

TEST(Stream, IsAViewOfEvents) {
  ScriptedServer server;
  server.script.events = whole_generation();
  Client client(server.target());
  const auto is_progress = [](const Event& event) {
    return std::holds_alternative<DenoiseProgress>(event);
  };
  EXPECT_EQ(std::ranges::distance(client.stream_image({.prompt = "a lake"}) |
                                  std::views::filter(is_progress)),
            2);
}

TEST(Stream, SendsNothingBeforeItIsRead) {
  ScriptedServer server;
  Client client(server.target());
  static_cast<void>(client.stream_image({.prompt = "a lake"}));
  EXPECT_TRUE(server.requests().empty());
  EXPECT_TRUE(server.cancels().empty());
}

TEST(Stream, GathersTheWhole) {
  ScriptedServer server;
  server.script.events = whole_generation();
  Client client(server.target());
  const Generation generation = client.generate_image({.prompt = "a lake"});
  EXPECT_EQ(generation.images.at(0).data.size(), 6);
  EXPECT_EQ(generation.summary.model, "tiny");
  EXPECT_EQ(generation.request_id, server.requests().at(0).request_id());
}

TEST_F(Held, LeavingTheLoopHasEndedTheGeneration) {
  int events = 0;
  for (const Event& event : client_.stream_image({.prompt = "a lake", .request_id = "lake"})) {
    static_cast<void>(event);
    if (++events == 3) {
      break;
    }
  }
  EXPECT_EQ(server_.cancels(), std::vector<std::string>{"lake"});
  server_.wait_until_left();
}

TEST_F(Held, AnExceptionInTheLoopHasEndedTheGeneration) {
  EXPECT_THROW(client_.generate_image({.prompt = "a lake"},
                                      [](const Event&) -> bool { throw std::range_error("mine"); }),
               std::range_error);
  EXPECT_EQ(server_.cancels().size(), 1);
}

TEST_F(Held, ACallbackThatSaysFalseHasEndedTheGeneration) {
  EXPECT_FALSE(client_.generate_image({.prompt = "a lake"}, [](const Event&) { return false; }));
  EXPECT_EQ(server_.cancels().size(), 1);
}

TEST_F(Held, WithoutALingerTheCallsEndIsTheEnd) {
  {
    EventStream events = client_.stream_image({.prompt = "a lake"}, {.linger = Seconds::zero()});
    EXPECT_FALSE(events.begin() == events.end());
  }
  server_.wait_until_left();
  EXPECT_TRUE(server_.cancels().empty());
}

TEST_F(Held, AStopTokenEndsTheGeneration) {
  std::stop_source stopping;
  auto generation = std::async(std::launch::async, [&] {
    return client_.generate_image({.prompt = "a lake"}, {.stop = stopping.get_token()});
  });
  server_.wait_until_held(1);
  stopping.request_stop();
  EXPECT_THROW(generation.get(), GenerationCancelledError);
  EXPECT_EQ(server_.cancels().size(), 1);
}

TEST_F(Held, AStopTokenThatWasStoppedSendsNothing) {
  std::stop_source stopping;
  stopping.request_stop();
  EXPECT_THROW(static_cast<void>(
                   client_.generate_image({.prompt = "a lake"}, {.stop = stopping.get_token()})),
               GenerationCancelledError);
  EXPECT_TRUE(server_.requests().empty());
}

TEST_F(Held, AnotherThreadMayCancel) {
  EventStream events = client_.stream_image({.prompt = "a lake"});
  std::jthread other([&] {
    server_.wait_until_held(1);
    events.cancel();
  });
  const auto read_all = [&] {
    for (const Event& event : events) {
      static_cast<void>(event);
    }
  };
  EXPECT_THROW(read_all(), GenerationCancelledError);
  EXPECT_EQ(server_.cancels(), std::vector<std::string>{events.request_id()});
}

TEST_F(Held, ACancelThatIsNotAnsweredIsGivenUp) {
  server_.cancel_holds = true;
  const auto started = std::chrono::steady_clock::now();
  {
    EventStream events = client_.stream_image({.prompt = "a lake"});
    static_cast<void>(events.begin());
  }
  EXPECT_GE(std::chrono::steady_clock::now() - started, std::chrono::milliseconds(1900));
  EXPECT_EQ(server_.cancels().size(), 1);
}

TEST_F(Held, ClosingTheClientEndsAllThatRun) {
  std::vector<std::future<Generation>> generations;
  for (int index = 0; index < 3; ++index) {
    generations.push_back(std::async(std::launch::async,
                                     [&] { return client_.generate_image({.prompt = "a lake"}); }));
  }
  server_.wait_until_held(3);
  client_.close();
  for (auto& generation : generations) {
    EXPECT_THROW(generation.get(), GenerationCancelledError);
  }
  EXPECT_EQ(server_.cancels().size(), 3);
  EXPECT_THROW(static_cast<void>(client_.stream_image({.prompt = "a lake"})), std::logic_error);
}

TEST_F(Held, ADeadlineEndsTheGeneration) {
  EXPECT_THROW(static_cast<void>(client_.generate_image(
                   {.prompt = "a lake"}, {.timeout = Seconds(0.3), .linger = Seconds(10)})),
               DeadlineExceededError);
  EXPECT_EQ(server_.cancels().size(), server_.requests().size());
}

TEST_F(Held, AGenerationMayBeLeftToItself) {
  const std::string request_id = client_.start_image({.prompt = "a lake"});
  server_.wait_until_left();
  EXPECT_EQ(server_.requests().at(0).request_id(), request_id);
  EXPECT_EQ(server_.requests().at(0).linger_duration().seconds(), 600);
  EXPECT_TRUE(server_.cancels().empty());
}

TEST(Stream, TakesUpAConnectionThatBroke) {
  ScriptedServer server;
  server.script = {.events = first(3),
                   .status = grpc::Status(grpc::StatusCode::UNAVAILABLE, "Socket closed")};
  const auto whole = whole_generation();
  server.watch_script.events = {whole.begin() + 3, whole.end()};
  Client client(server.target());
  std::vector<std::int64_t> indices;
  for (const Event& event : client.stream_image({.prompt = "a lake"})) {
    indices.push_back(event_index(event));
  }
  EXPECT_EQ(indices, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(server.watches().at(0).after_event_index(), 2);
  EXPECT_EQ(server.requests().size(), 1);
}

TEST(Stream, OfAWatchLeavesTheGenerationAsItIs) {
  ScriptedServer server;
  server.watch_script = {.events = first(3), .holds = true};
  Client client(server.target());
  {
    EventStream events = client.watch("lake");
    EXPECT_FALSE(events.begin() == events.end());
  }
  server.wait_until_left();
  EXPECT_FALSE(server.watches().at(0).has_after_event_index());
  EXPECT_TRUE(server.cancels().empty());
}

TEST(Client, IsForSeveralThreads) {
  ScriptedServer server;
  server.script.events = whole_generation();
  Client client(server.target());
  std::vector<std::future<Generation>> generations;
  for (int index = 0; index < 8; ++index) {
    generations.push_back(std::async(std::launch::async,
                                     [&] { return client.generate_image({.prompt = "a lake"}); }));
  }
  for (auto& generation : generations) {
    EXPECT_EQ(generation.get().images.size(), 1);
  }
}

TEST(Client, RefusesWhatCannotBe) {
  EXPECT_THROW(Client("127.0.0.1:1", {.api_key = "two words"}), std::invalid_argument);
  EXPECT_THROW(
      Client("127.0.0.1:1",
             {.tls = TlsOptions{.private_key = Pem::from_text("-----BEGIN PRIVATE KEY-----")}}),
      std::invalid_argument);
  EXPECT_THROW(static_cast<void>(Pem::from_text("no PEM")), std::invalid_argument);
}

}  // namespace
}  // namespace leyden
