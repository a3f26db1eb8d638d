#include "health.hpp"

#include <google/protobuf/empty.pb.h>
#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <optional>

#include "status.hpp"

namespace leyden::detail {

namespace {

// HealthCheckRequest for the whole server has no field set, and the only field of
// HealthCheckResponse is an enum numbered 1: on the wire they are these two well-known types. Its
// own stubs would clash with those of a program that has them too.
using HealthRequest = google::protobuf::Empty;
using HealthResponse = google::protobuf::Int32Value;
using HealthStub = grpc::TemplatedGenericStub<HealthRequest, HealthResponse>;

constexpr std::int32_t serving = 1;
constexpr Seconds first_pause{0.05};
constexpr Seconds longest_pause{2};

/// One watch of the server's health.
class HealthWatch {
 public:
  explicit HealthWatch(const Connection& connection, const Deadline& deadline)
      : stub_(connection.channel()) {
    connection.prepare(context_, deadline);
    context_.set_wait_for_ready(true);
  }

  void cancel() { context_.TryCancel(); }

  /// Watches until the server serves (no status), or the call ends (its status).
  std::optional<grpc::Status> run() {
    const auto call = stub_.PrepareCall(&context_, "/grpc.health.v1.Health/Watch", &queue_);
    call->StartCall(this);
    const bool sent = next() && (call->WriteLast(HealthRequest(), {}, this), next());
    HealthResponse response;
    while (sent && (call->Read(&response, this), next())) {
      if (response.value() == serving) {
        context_.TryCancel();
        finish(*call);
        return std::nullopt;
      }
    }
    return finish(*call);
  }

 private:
  using Call = grpc::ClientAsyncReaderWriter<HealthRequest, HealthResponse>;

  /// Waits for the operation that was begun last; returns whether it was done.
  bool next() {
    void* tag = nullptr;
    bool done = false;
    return queue_.Next(&tag, &done) && done;
  }

  grpc::Status finish(Call& call) {
    grpc::Status status;
    call.Finish(&status, this);
    next();
    queue_.Shutdown();
    next();
    return status;
  }

  HealthStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
};

}  // namespace

void wait_until_serving(const Connection& connection, const Deadline& deadline,
                        const std::stop_token& stop) {
  Seconds pause = first_pause;
  while (true) {
    HealthWatch watch(connection, deadline);
    const std::stop_callback on_stop(stop, [&watch] { watch.cancel(); });
    const auto ended = watch.run();
    if (!ended) {
      return;
    }
    // The connection, or the server behind a proxy, may come back; so may a watch that was ended
    // with OK.
    if (stop.stop_requested() ||
        (!ended->ok() && ended->error_code() != grpc::StatusCode::UNAVAILABLE)) {
      throw_failure(failure_of(*ended));
    }
    // Whatever ends watches at once must not be flooded with new ones.
    pause_for(pause, stop);
    pause = std::min(2 * pause, longest_pause);
  }
}

}  // namespace leyden::detail
