#include "request_message.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <regex>
#include <stdexcept>

#include "utf8.hpp"

namespace leyden::detail {
namespace {

TEST(RequestMessage, DrawsWhatMakesItRepeatable) {
  const auto one = repeatable_request({.prompt = "a lake"}, {});
  const auto two = repeatable_request({.prompt = "a lake"}, {});
  const std::regex uuid("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  EXPECT_TRUE(std::regex_match(one.request_id(), uuid)) << one.request_id();
  EXPECT_NE(one.request_id(), two.request_id());
  EXPECT_TRUE(one.has_seed());
  EXPECT_GE(one.seed(), 0);
  EXPECT_LT(one.seed(), std::int64_t{1} << 32);
  EXPECT_NE(one.seed(), two.seed());
}

TEST(RequestMessage, HasWhatIsGiven) {
  const auto message = repeatable_request({.prompt = "a lake",
                                           .seed = std::int64_t{9'007'199'254'740'991},
                                           .guidance_scale = 0.0F,
                                           .preview = PreviewOptions{},
                                           .request_id = "lake",
                                           .priority = 3},
                                          {});
  EXPECT_EQ(message.seed(), 9'007'199'254'740'991);
  EXPECT_TRUE(message.has_guidance_scale());
  EXPECT_TRUE(message.has_preview());
  EXPECT_EQ(message.request_id(), "lake");
  EXPECT_EQ(message.priority(), 3);
}

TEST(RequestMessage, LeavesOutWhatIsNot) {
  const auto message = repeatable_request({.prompt = "a lake", .seed = 0}, {});
  EXPECT_TRUE(message.has_seed());
  EXPECT_EQ(message.seed(), 0);
  EXPECT_FALSE(message.has_guidance_scale());
  EXPECT_FALSE(message.has_preview());
  EXPECT_FALSE(message.has_priority());
}

TEST(RequestMessage, LingersUnlessTold) {
  const GenerateRequest request{.prompt = "a lake"};
  EXPECT_EQ(repeatable_request(request, {}).linger_duration().seconds(), 15);
  EXPECT_FALSE(repeatable_request(request, {.linger = Seconds(0)}).has_linger_duration());
  EXPECT_FALSE(repeatable_request(request, {.timeout = Seconds(9)}).has_linger_duration());
  const auto both = repeatable_request(request, {.timeout = Seconds(9), .linger = Seconds(2.5)});
  EXPECT_EQ(both.linger_duration().seconds(), 2);
  EXPECT_EQ(both.linger_duration().nanos(), 500'000'000);
}

TEST(RequestMessage, RefusesWhatCannotBeSent) {
  const Seconds no_number(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THROW(repeatable_request({.prompt = "a lake"}, {.linger = no_number}),
               std::invalid_argument);
  EXPECT_THROW(repeatable_request({.prompt = "\xff"}, {}), std::invalid_argument);
}

TEST(Utf8, IsTold) {
  for (const char* text : {"", "a lake", "\xc3\xa9", "\xe9\xbb\x8e", "\xf0\x9f\x8f\x94"}) {
    EXPECT_TRUE(is_utf8(text)) << text;
  }
  // A byte alone, a sequence cut short, one that is too long, a surrogate, beyond Unicode.
  for (const char* text : {"\x80", "\xe9\xbb", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    EXPECT_FALSE(is_utf8(text)) << text;
  }
}

}  // namespace
}  // namespace leyden::detail
