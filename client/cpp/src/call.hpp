#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <functional>
#include <memory>
#include <stop_token>

#include "leyden/v1/image_generation_service.pb.h"

namespace leyden::detail {

/// One call that streams the events of a generation; it is cancelled once a stop is asked for,
/// and where it is destroyed before its end.
class StreamingCall {
 public:
  using Reader = grpc::ClientReader<v1::GenerateImageResponse>;

  /// Makes the call by `open`, which is given a context that a stop cancels from the outset.
  StreamingCall(const std::stop_token& stop,
                const std::function<std::unique_ptr<Reader>(grpc::ClientContext&)>& open)
      : on_stop_(stop, Cancel{&context_}), reader_(open(context_)) {}

  StreamingCall(const StreamingCall&) = delete;
  StreamingCall& operator=(const StreamingCall&) = delete;
  StreamingCall(StreamingCall&&) = delete;
  StreamingCall& operator=(StreamingCall&&) = delete;

  ~StreamingCall() {
    if (!finished_) {
      context_.TryCancel();
      reader_->Finish();
    }
  }

  /// Waits for the next response; false: there is none any more.
  bool read(v1::GenerateImageResponse& response) { return reader_->Read(&response); }

  /// Returns how the call ended, once `read` has said false.
  grpc::Status finish() {
    finished_ = true;
    return reader_->Finish();
  }

 private:
  struct Cancel {
    grpc::ClientContext* context;
    void operator()() const { context->TryCancel(); }
  };

  // In this order: the reader waits while it is made, so that a stop must reach it by then.
  grpc::ClientContext context_;
  std::stop_callback<Cancel> on_stop_;
  std::unique_ptr<Reader> reader_;
  bool finished_ = false;
};

}  // namespace leyden::detail
