#include "leyden/event_stream.hpp"

#include <utility>

#include "stream.hpp"

namespace leyden {

EventStream::EventStream(std::unique_ptr<detail::Stream> stream) noexcept
    : stream_(std::move(stream)) {}

EventStream::EventStream(EventStream&& other) noexcept = default;
EventStream& EventStream::operator=(EventStream&& other) noexcept = default;
EventStream::~EventStream() = default;

EventStream::Iterator EventStream::begin() {
  stream_->start();
  return Iterator(stream_.get());
}

const std::string& EventStream::request_id() const noexcept { return stream_->request_id(); }

void EventStream::cancel() noexcept { stream_->cancel(); }

Event& EventStream::Iterator::operator*() const noexcept { return stream_->event(); }

EventStream::Iterator& EventStream::Iterator::operator++() {
  stream_->advance();
  return *this;
}

bool EventStream::Iterator::is_at_end() const noexcept {
  return stream_ == nullptr || stream_->is_at_end();
}

}  // namespace leyden
