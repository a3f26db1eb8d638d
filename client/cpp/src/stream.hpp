#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "assembler.hpp"
#include "call.hpp"
#include "connection.hpp"
#include "deadline.hpp"
#include "leyden/errors.hpp"

namespace leyden::detail {

/// What a stream follows, and how.
struct StreamPlan {
  /// What to generate. Absent: `request_id` is watched.
  std::optional<v1::GenerateImageRequest> request = {};
  std::string request_id = {};
  /// Whether the id was drawn, so that nobody else has it.
  bool id_is_ours = false;
  /// Where there is no request: the last event that is known. Absent: none is.
  std::optional<std::int64_t> after_event_index = {};
  /// A broken connection is given up so long after its last event.
  Seconds reattach{};
  std::optional<Seconds> timeout = {};
  std::stop_token stop = {};
  /// Goes with every call.
  Metadata metadata = {};
};

/// Follows one generation to its end, over as many calls as broken connections make of it.
///
/// A connection that breaks after the first event is taken up again: by watching, and where the
/// server does not know the generation any more, by the same request once more. What the server
/// says is never tried again. A generation that was started here ends with its reader.
class Stream {
 public:
  /// Prepares; `start` begins. Throws `std::invalid_argument` for a timeout that is no number.
  Stream(std::shared_ptr<Connection> connection, StreamPlan plan);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  Stream(Stream&&) = delete;
  Stream& operator=(Stream&&) = delete;
  ~Stream();

  /// Begins with the first event; nothing where it has begun.
  void start();
  /// Goes on to the next event.
  void advance();
  [[nodiscard]] Event& event() noexcept { return *event_; }
  [[nodiscard]] bool is_at_end() const noexcept { return !event_; }
  [[nodiscard]] const std::string& request_id() const noexcept { return plan_.request_id; }

  /// Cancels from any thread.
  void cancel() noexcept { ending_.request_stop(); }
  /// Lets go of the generation, which goes on.
  void detach() noexcept;

 private:
  enum class State : std::uint8_t { prepared, running, ended };

  void next();
  void restart();
  void go_on_after(const grpc::Status& status);
  void break_off_unless_taken_up(const Failure& failure);
  void generate();
  void watch();
  void open(const std::function<std::unique_ptr<StreamingCall::Reader>(grpc::ClientContext&)>& by);
  void connected();
  void leave(bool may_go_on) noexcept;
  [[noreturn]] void fail(Failure failure);
  [[nodiscard]] Failure as_told(Failure failure) const;
  [[nodiscard]] bool lingers() const;

  struct ForwardStop {
    std::stop_source source;
    void operator()() const { source.request_stop(); }
  };

  std::shared_ptr<Connection> connection_;
  StreamPlan plan_;
  EventAssembler assembler_;
  /// Stopped by `cancel`, the caller's token and the connection's closing alike.
  std::stop_source ending_;
  std::stop_callback<ForwardStop> on_stop_;
  std::stop_callback<ForwardStop> on_closing_;
  Deadline deadline_;
  State state_ = State::prepared;
  bool has_begun_ = false;
  bool watches_ = false;
  std::optional<std::chrono::steady_clock::time_point> broken_since_;
  Seconds pause_;
  std::optional<Event> event_;
  std::unique_ptr<StreamingCall> call_;
};

}  // namespace leyden::detail
