#include "assembler.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "leyden/errors.hpp"
#include "scripted_server.hpp"

namespace leyden::detail {
namespace {

using testing::whole_generation;

std::vector<Event> shown(EventAssembler& assembler,
                         const std::vector<v1::GenerateImageResponse>& responses) {
  std::vector<Event> events;
  for (const auto& response : responses) {
    if (auto event = assembler.add(response)) {
      events.push_back(std::move(*event));
    }
  }
  return events;
}

/// The events of an image of `size_bytes` that comes in two chunks.
std::vector<v1::GenerateImageResponse> in_chunks(std::int64_t size_bytes) {
  std::vector<v1::GenerateImageResponse> events(3);
  events[0].mutable_image()->set_size_bytes(size_bytes);
  events[1].mutable_image_chunk()->set_data("pix");
  events[2].mutable_image_chunk()->set_data("els");
  events[2].mutable_image_chunk()->set_offset_bytes(3);
  events[2].mutable_image_chunk()->set_last(true);
  for (std::size_t index = 0; index < events.size(); ++index) {
    events[index].set_event_index(static_cast<std::int64_t>(index));
  }
  return events;
}

TEST(Assembler, JoinsChunks) {
  EventAssembler assembler("", 1, {});
  const auto events = shown(assembler, in_chunks(6));
  ASSERT_EQ(events.size(), 1);
  EXPECT_EQ(std::get<Image>(events.at(0)).data.size(), 6);
  EXPECT_EQ(event_index(events.at(0)), 2);
}

TEST(Assembler, RefusesAnImageOfAnotherSize) {
  for (const std::int64_t size_bytes : {5, 7}) {
    EventAssembler assembler("", 1, {});
    EXPECT_THROW(shown(assembler, in_chunks(size_bytes)), ProtocolError);
  }
}

TEST(Assembler, RefusesAGap) {
  auto responses = whole_generation();
  responses.erase(responses.begin() + 1);
  EventAssembler assembler("", 1, {});
  EXPECT_THROW(shown(assembler, responses), ProtocolError);
}

TEST(Assembler, RefusesAnEndWithoutASummary) {
  auto responses = whole_generation();
  responses.pop_back();
  EventAssembler assembler("", 1, {});
  shown(assembler, responses);
  EXPECT_THROW(assembler.finish(), ProtocolError);
}

TEST(Assembler, RefusesASummaryBeforeAllImages) {
  EventAssembler assembler("", 2, {});
  EXPECT_THROW(shown(assembler, whole_generation()), ProtocolError);
}

TEST(Assembler, RefusesTheEventsOfAnother) {
  EventAssembler assembler("another", 1, {});
  EXPECT_THROW(shown(assembler, whole_generation()), ProtocolError);
}

TEST(Assembler, PassesOverWhatItDoesNotKnow) {
  EventAssembler assembler("", 1, {});
  EXPECT_FALSE(assembler.add(v1::GenerateImageResponse()));
  EXPECT_EQ(assembler.last_index(), 0);
}

TEST(Assembler, ShowsNothingTwice) {
  EventAssembler assembler("", 1, {});
  const auto whole = whole_generation();
  shown(assembler, {whole.begin(), whole.begin() + 4});
  assembler.start_over();
  const auto events = shown(assembler, whole);
  ASSERT_EQ(events.size(), 2);
  EXPECT_TRUE(std::holds_alternative<Image>(events.at(0)));
  assembler.finish();
}

TEST(Assembler, KnowsThatAnImageBeganBeforeWhatIsWatched) {
  EventAssembler assembler("", {}, 0);
  const auto responses = in_chunks(6);
  EXPECT_TRUE(assembler.lacks_header_of(responses.at(1)));
  assembler.start_over();
  EXPECT_EQ(shown(assembler, responses).size(), 1);
}

}  // namespace
}  // namespace leyden::detail
