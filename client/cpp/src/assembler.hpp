#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "leyden/events.hpp"
#include "leyden/v1/image_generation_service.pb.h"

namespace leyden::detail {

/// Turns the responses of one generation into events, joins the chunks of images, and checks the
/// API's contract on the way.
///
/// The responses may come by several calls: those of WatchGeneration go on where the last one
/// ended, and `start_over` begins again at event 0 and shows nothing twice. Every method throws
/// `ProtocolError` where a stream breaks the contract.
class EventAssembler {
 public:
  /// Expects the events of `request_id`, those after `after_event_index` if given. `image_count`
  /// is how many images were asked for; absent: not known.
  EventAssembler(std::string request_id, std::optional<std::int32_t> image_count,
                 std::optional<std::int64_t> after_event_index);

  /// Index of the last response that came; absent: none did.
  [[nodiscard]] std::optional<std::int64_t> last_index() const;
  /// Whether the summary came, which is last.
  [[nodiscard]] bool is_done() const { return done_; }

  /// Whether `response` is a chunk of an image that began before `after_event_index`, so that the
  /// generation has to be read from its event 0.
  [[nodiscard]] bool lacks_header_of(const v1::GenerateImageResponse& response) const;

  /// Expects event 0 next: all events come again, or the generation runs again.
  void start_over();

  /// Takes the next response; returns its event, or nothing where there is none to show.
  std::optional<Event> add(const v1::GenerateImageResponse& response);

  /// Says that the stream ended with status OK.
  void finish() const;

 private:
  /// An image whose chunks are on their way.
  struct PartialImage {
    v1::Image header;
    Bytes data;
  };

  /// What the reader of a generation has been shown, by all of its runs.
  struct Shown {
    bool text_encoded = false;
    /// Of each image, the last denoise step.
    std::map<std::int32_t, std::int32_t> steps;
    std::set<std::int32_t> images;

    /// Whether a run that begins anew tells nothing new by `event`.
    [[nodiscard]] bool has(const Event& event) const;
    void note(const Event& event);
  };

  void check_order(const v1::GenerateImageResponse& response);
  std::optional<Event> event_of(const v1::GenerateImageResponse& response);
  [[nodiscard]] Event progress(const v1::GenerateImageResponse& response) const;
  std::optional<Event> begin_image(const v1::GenerateImageResponse& response);
  std::optional<Event> add_chunk(const v1::GenerateImageResponse& response);
  Event whole_image(const v1::GenerateImageResponse& response, const v1::Image& header, Bytes data);
  Event finished(const v1::GenerateImageResponse& response);
  void expect_images();

  std::string request_id_;
  std::optional<std::int32_t> image_count_;
  std::int64_t after_event_index_;
  /// Absent: any, since a generation may have fewer events by now than its watcher says to know.
  std::optional<std::int64_t> next_index_;
  Shown shown_;
  bool repeats_ = false;
  std::set<std::int32_t> missing_images_;
  std::optional<PartialImage> partial_;
  bool done_ = false;
};

}  // namespace leyden::detail
