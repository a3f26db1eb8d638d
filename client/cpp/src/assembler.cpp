#include "assembler.hpp"

#include <sstream>
#include <utility>
#include <variant>

#include "leyden/errors.hpp"
#include "wire.hpp"

namespace leyden::detail {

namespace {

template <typename... Parts>
[[noreturn]] void break_off(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw ProtocolError(message.str());
}

}  // namespace

bool EventAssembler::Shown::has(const Event& event) const {
  if (std::holds_alternative<Queued>(event)) {
    // Who has seen steps is not told of a queue, which comes before them.
    return !steps.empty();
  }
  if (std::holds_alternative<TextEncoded>(event)) {
    return text_encoded;
  }
  if (const auto* progress = std::get_if<DenoiseProgress>(&event)) {
    const auto seen = steps.find(progress->image_index);
    return seen != steps.end() && progress->step <= seen->second;
  }
  if (const auto* image = std::get_if<Image>(&event)) {
    return images.contains(image->image_index);
  }
  return false;
}

void EventAssembler::Shown::note(const Event& event) {
  if (std::holds_alternative<TextEncoded>(event)) {
    text_encoded = true;
  } else if (const auto* progress = std::get_if<DenoiseProgress>(&event)) {
    steps[progress->image_index] = progress->step;
  } else if (const auto* image = std::get_if<Image>(&event)) {
    images.insert(image->image_index);
  }
}

EventAssembler::EventAssembler(std::string request_id, std::optional<std::int32_t> image_count,
                               std::optional<std::int64_t> after_event_index)
    : request_id_(std::move(request_id)),
      image_count_(image_count),
      after_event_index_(after_event_index.value_or(-1)) {
  if (!after_event_index) {
    next_index_ = 0;
  }
  expect_images();
}

std::optional<std::int64_t> EventAssembler::last_index() const {
  if (next_index_.value_or(0) == 0) {
    return std::nullopt;
  }
  return *next_index_ - 1;
}

bool EventAssembler::lacks_header_of(const v1::GenerateImageResponse& response) const {
  return response.has_image_chunk() && !partial_ && after_event_index_ >= 0 && !repeats_;
}

void EventAssembler::start_over() {
  next_index_ = 0;
  repeats_ = true;
  expect_images();
  partial_.reset();
}

std::optional<Event> EventAssembler::add(const v1::GenerateImageResponse& response) {
  check_order(response);
  auto event = event_of(response);
  if (!event || response.event_index() <= after_event_index_ || (repeats_ && shown_.has(*event))) {
    return std::nullopt;
  }
  shown_.note(*event);
  return event;
}

void EventAssembler::finish() const {
  if (!done_) {
    break_off("the stream ended after ", next_index_.value_or(0), " events, with no summary");
  }
}

void EventAssembler::check_order(const v1::GenerateImageResponse& response) {
  if (done_) {
    break_off("an event came after the summary");
  }
  if (next_index_ && response.event_index() != *next_index_) {
    break_off("event ", *next_index_, " was due, event ", response.event_index(), " came");
  }
  if (response.request_id() != request_id_) {
    break_off("an event of '", response.request_id(), "' came in the stream of '", request_id_,
              "'");
  }
  next_index_ = response.event_index() + 1;
}

std::optional<Event> EventAssembler::event_of(const v1::GenerateImageResponse& response) {
  using Response = v1::GenerateImageResponse;
  switch (response.event_case()) {
    case Response::kQueued:
      return queued(response);
    case Response::kTextEncoded:
      return text_encoded(response);
    case Response::kDenoiseProgress:
      return progress(response);
    case Response::kImage:
      return begin_image(response);
    case Response::kImageChunk:
      return add_chunk(response);
    case Response::kSummary:
      return finished(response);
    case Response::EVENT_NOT_SET:
      break;
  }
  // A kind of event that a later version of the API added.
  return std::nullopt;
}

Event EventAssembler::progress(const v1::GenerateImageResponse& response) const {
  const auto index = response.denoise_progress().image_index();
  if (index < 0 || (image_count_ && index >= *image_count_)) {
    break_off("a step of image ", index, " came, which was not asked for");
  }
  return denoise_progress(response);
}

std::optional<Event> EventAssembler::begin_image(const v1::GenerateImageResponse& response) {
  const auto& header = response.image();
  if (partial_) {
    break_off("image ", header.image_index(), " came between the chunks of image ",
              partial_->header.image_index());
  }
  if (image_count_ && !missing_images_.contains(header.image_index())) {
    break_off("image ", header.image_index(), " was not asked for, or came twice");
  }
  if (header.size_bytes() <= 0) {
    break_off("image ", header.image_index(), " has ", header.size_bytes(), " bytes");
  }
  if (header.data().empty()) {
    partial_.emplace(PartialImage{.header = header, .data = {}});
    return std::nullopt;
  }
  return whole_image(response, header, bytes(header.data()));
}

std::optional<Event> EventAssembler::add_chunk(const v1::GenerateImageResponse& response) {
  const auto& chunk = response.image_chunk();
  if (!partial_ || partial_->header.image_index() != chunk.image_index()) {
    break_off("a chunk of image ", chunk.image_index(), " came without its image");
  }
  Bytes& data = partial_->data;
  if (!std::cmp_equal(chunk.offset_bytes(), data.size())) {
    break_off("the chunk of image ", chunk.image_index(), " at ", data.size(),
              " bytes was due, the one at ", chunk.offset_bytes(), " came");
  }
  if (std::cmp_greater(data.size() + chunk.data().size(), partial_->header.size_bytes())) {
    // Checked at every chunk: a size that was promised bounds the memory.
    break_off("image ", chunk.image_index(), " goes past its ", partial_->header.size_bytes(),
              " bytes");
  }
  const Bytes part = bytes(chunk.data());
  data.insert(data.end(), part.begin(), part.end());
  if (!chunk.last()) {
    return std::nullopt;
  }
  const PartialImage image = *std::exchange(partial_, std::nullopt);
  return whole_image(response, image.header, image.data);
}

Event EventAssembler::whole_image(const v1::GenerateImageResponse& response,
                                  const v1::Image& header, Bytes data) {
  if (!std::cmp_equal(data.size(), header.size_bytes())) {
    break_off("image ", header.image_index(), " has ", data.size(), " of its ", header.size_bytes(),
              " bytes");
  }
  missing_images_.erase(header.image_index());
  return image(response, header, std::move(data));
}

Event EventAssembler::finished(const v1::GenerateImageResponse& response) {
  if (!missing_images_.empty()) {
    break_off("the summary came without image ", *missing_images_.begin());
  }
  done_ = true;
  return summary(response);
}

void EventAssembler::expect_images() {
  missing_images_.clear();
  for (std::int32_t index = 0; index < image_count_.value_or(0); ++index) {
    missing_images_.insert(index);
  }
}

}  // namespace leyden::detail
