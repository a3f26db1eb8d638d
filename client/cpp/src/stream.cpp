#include "stream.hpp"

#include <algorithm>
#include <utility>

#include "status.hpp"

namespace leyden::detail {

namespace {

constexpr Seconds first_pause{0.1};
constexpr Seconds longest_pause{2};

/// Whether a status may be what a connection, or a proxy, that breaks in the midst of a stream
/// looks like; every status that a Leyden server gives has a reason.
bool looks_broken(const Failure& failure) {
  return failure.reason.empty() &&
         (failure.code == StatusCode::unavailable || failure.code == StatusCode::unknown ||
          failure.code == StatusCode::internal || failure.code == StatusCode::cancelled);
}

/// Whether the server may go on with a generation after it said this. Every other status is the
/// generation's own, or there is no server to ask.
bool may_go_on_after(const Failure& failure) {
  return failure.code == StatusCode::deadline_exceeded || failure.reason == "READER_TOO_SLOW";
}

/// Whether the server knows the generation no more, or ended it since nobody watched it.
bool was_lost(const Failure& failure) {
  const bool left_alone = failure.code == StatusCode::cancelled && !failure.reason.empty() &&
                          failure.reason != "CANCELLED_BY_REQUEST";
  return left_alone || failure.reason == "GENERATION_NOT_FOUND";
}

std::optional<std::int32_t> image_count_of(const StreamPlan& plan) {
  if (!plan.request) {
    return std::nullopt;
  }
  return plan.request->image_count() == 0 ? 1 : plan.request->image_count();
}

}  // namespace

Stream::Stream(std::shared_ptr<Connection> connection, StreamPlan plan)
    : connection_(std::move(connection)),
      plan_(std::move(plan)),
      assembler_(plan_.request_id, image_count_of(plan_), plan_.after_event_index),
      on_stop_(plan_.stop, ForwardStop{ending_}),
      on_closing_(connection_->closing(), ForwardStop{ending_}),
      deadline_(Deadline::after(plan_.timeout)),
      pause_(first_pause) {}

Stream::~Stream() {
  if (state_ == State::running) {
    leave(/*may_go_on=*/true);
  }
}

void Stream::start() {
  if (state_ != State::prepared) {
    return;
  }
  connection_->check_open();
  if (ending_.stop_requested()) {
    state_ = State::ended;
    throw_failure(stopped_by_caller());
  }
  deadline_ = Deadline::after(plan_.timeout);
  if (lingers() && plan_.id_is_ours) {
    connection_->note_lingering(this, {request_id(), plan_.metadata});
  }
  state_ = State::running;
  advance();
}

void Stream::advance() {
  event_.reset();
  if (state_ == State::ended) {
    return;
  }
  try {
    next();
  } catch (...) {
    if (state_ != State::ended) {
      leave(/*may_go_on=*/true);
    }
    throw;
  }
  if (!event_) {
    leave(/*may_go_on=*/false);
  }
}

void Stream::detach() noexcept {
  if (state_ == State::running) {
    leave(/*may_go_on=*/false);
  }
}

void Stream::next() {
  if (!call_) {
    restart();
  }
  v1::GenerateImageResponse response;
  while (true) {
    while (call_->read(response)) {
      connected();
      if (assembler_.lacks_header_of(response)) {
        // All of it, of which only what is new is shown.
        assembler_.start_over();
        plan_.after_event_index.reset();
        watch();
        continue;
      }
      event_ = assembler_.add(response);
      if (event_) {
        return;
      }
    }
    const grpc::Status status = call_->finish();
    if (status.ok() || assembler_.is_done()) {
      assembler_.finish();
      return;  // where all had come, a connection that broke afterwards breaks nothing
    }
    go_on_after(status);
  }
}

void Stream::restart() {
  if (plan_.request) {
    generate();
  } else {
    watch();
  }
}

void Stream::go_on_after(const grpc::Status& status) {
  Failure failure = failure_of(status);
  if (ending_.stop_requested()) {
    leave(/*may_go_on=*/true);
    throw_failure(connection_->is_closed() ? closed_while_running() : stopped_by_caller());
  }
  if (plan_.request && watches_ && was_lost(failure)) {
    assembler_.start_over();
    generate();
    return;
  }
  break_off_unless_taken_up(failure);
  watch();
}

/// Waits until it is time for another call, or throws what `failure` means.
void Stream::break_off_unless_taken_up(const Failure& failure) {
  if (!looks_broken(failure) || !has_begun_) {
    fail(as_told(failure));
  }
  const auto now = std::chrono::steady_clock::now();
  if (!broken_since_) {
    broken_since_ = now;
  }
  if (now + pause_ >= *broken_since_ + plan_.reattach) {
    fail(failure);
  }
  const auto remaining = deadline_.remaining();
  if (remaining && pause_ >= *remaining) {
    fail(timed_out(*plan_.timeout));
  }
  if (!pause_for(pause_, ending_.get_token())) {
    leave(/*may_go_on=*/true);
    throw_failure(connection_->is_closed() ? closed_while_running() : stopped_by_caller());
  }
  pause_ = std::min(2 * pause_, longest_pause);
}

void Stream::generate() {
  watches_ = false;
  open([this](grpc::ClientContext& context) {
    return connection_->images().GenerateImage(&context, *plan_.request);
  });
}

void Stream::watch() {
  watches_ = true;
  v1::WatchGenerationRequest request;
  request.set_request_id(request_id());
  const auto last_index = assembler_.last_index();
  const auto known = last_index ? last_index : plan_.after_event_index;
  if (known) {
    request.set_after_event_index(*known);
  }
  open([&](grpc::ClientContext& context) {
    return connection_->images().WatchGeneration(&context, request);
  });
}

void Stream::open(
    const std::function<std::unique_ptr<StreamingCall::Reader>(grpc::ClientContext&)>& by) {
  call_.reset();
  call_ = std::make_unique<StreamingCall>(ending_.get_token(), [&](grpc::ClientContext& context) {
    connection_->prepare(context, deadline_, plan_.metadata);
    return by(context);
  });
}

void Stream::connected() {
  if (!has_begun_ && lingers() && !plan_.id_is_ours) {
    // An id that the caller chose may belong to another generation, until an event came.
    connection_->note_lingering(this, {request_id(), plan_.metadata});
  }
  has_begun_ = true;
  broken_since_.reset();
  pause_ = first_pause;
}

/// Ends the following, and the generation on the server where it `may_go_on` there.
void Stream::leave(bool may_go_on) noexcept {
  state_ = State::ended;
  call_.reset();
  // A generation that does not linger ends with its call; one that another client may have
  // begun under the same id is not ours to end.
  const bool is_known_to_be_ours = plan_.id_is_ours || has_begun_;
  if (may_go_on && lingers() && is_known_to_be_ours && !connection_->is_closed()) {
    connection_->cancel_left(request_id(), plan_.metadata);
  }
  connection_->forget_lingering(this);
}

void Stream::fail(Failure failure) {
  leave(may_go_on_after(failure));
  throw_failure(std::move(failure));
}

/// What the caller is told of `failure`: gRPC's own words for a deadline ("Stream removed") say
/// little.
Failure Stream::as_told(Failure failure) const {
  if (failure.code == StatusCode::deadline_exceeded && failure.reason.empty() && plan_.timeout) {
    return timed_out(*plan_.timeout);
  }
  if (failure.code == StatusCode::cancelled && connection_->is_closed()) {
    return closed_while_running();
  }
  return failure;
}

bool Stream::lingers() const { return plan_.request && plan_.request->has_linger_duration(); }

}  // namespace leyden::detail
