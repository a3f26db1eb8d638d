/// @file
/// A generation as a range of events.
#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <ranges>
#include <string>

#include "leyden/events.hpp"

namespace leyden {

class Client;

namespace detail {
class Stream;
}

/// A generation as a range of events: a `std::ranges::input_range` and a view, read once.
///
///     for (leyden::Event& event : client.stream_image({.prompt = "a lighthouse"})) { … }
///
/// The first `begin` sends the request; each step waits for the next event. An event may be moved
/// from.
///
/// Leaving the loop by `break`, `return` or an exception destroys the range, and its destruction
/// ends the generation: it has been cancelled on the server before the destructor returns, which
/// takes 2 seconds at most. A range that `Client::watch` gave leaves the generation as it is.
///
/// One thread reads a range; any thread may call `cancel`.
class EventStream : public std::ranges::view_base {
 public:
  class Iterator;

  /// Takes over the generation; iterators stay valid.
  EventStream(EventStream&& other) noexcept;
  /// Ends the generation that was this range's first.
  EventStream& operator=(EventStream&& other) noexcept;
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;
  /// Ends the generation where it is not at its end; nothing that goes wrong is told any more.
  ~EventStream();

  /// Starts where nothing was read yet, waits for the next event and returns its iterator.
  ///
  /// @throws RpcError Its subclasses say what happened.
  /// @throws ProtocolError The stream broke the API's contract.
  /// @throws std::logic_error The client is closed.
  Iterator begin();

  /// Returns what every iterator at the end equals.
  // NOLINTNEXTLINE(readability-convert-member-functions-to-static): ranges have it so
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return std::default_sentinel; }

  /// Returns the generation's name: the one that was given, or that this client drew.
  [[nodiscard]] const std::string& request_id() const noexcept;

  /// Cancels the generation from any thread; who waits for an event gets a
  /// `GenerationCancelledError` once the server knows.
  void cancel() noexcept;

 private:
  friend class Client;

  explicit EventStream(std::unique_ptr<detail::Stream> stream) noexcept;

  std::unique_ptr<detail::Stream> stream_;
};

/// Goes through the events of a stream; as of every input iterator, copies go on together.
class EventStream::Iterator {
 public:
  /// What is read.
  using value_type = Event;
  /// Signed, as the library wants it of an iterator.
  using difference_type = std::ptrdiff_t;
  /// Read once.
  using iterator_concept = std::input_iterator_tag;

  Iterator() noexcept = default;

  /// Returns the event, which is the reader's to move from, until the next step.
  [[nodiscard]] Event& operator*() const noexcept;
  /// Returns the event's address.
  [[nodiscard]] Event* operator->() const noexcept { return &**this; }

  /// Waits for the next event.
  ///
  /// @throws RpcError Its subclasses say what happened.
  /// @throws ProtocolError The stream broke the API's contract.
  Iterator& operator++();
  /// Waits for the next event.
  void operator++(int) { ++*this; }

  /// Whether the stream is at its end.
  friend bool operator==(const Iterator& iterator, std::default_sentinel_t /*end*/) noexcept {
    return iterator.is_at_end();
  }

 private:
  friend class EventStream;

  explicit Iterator(detail::Stream* stream) noexcept : stream_(stream) {}
  [[nodiscard]] bool is_at_end() const noexcept;

  detail::Stream* stream_ = nullptr;
};

}  // namespace leyden
