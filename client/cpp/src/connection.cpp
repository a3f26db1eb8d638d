#include "connection.hpp"

#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>

#include <cstddef>
#include <deque>
#include <stdexcept>
#include <utility>

#include "credentials.hpp"

namespace leyden::detail {

namespace {

grpc::ChannelArguments channel_arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix("leyden-cpp/" + std::string(version));
  // A server that vanished is noticed within 30 s, however long a stream is silent, and between
  // calls too. Leyden's Gateway allows a ping every 5 s.
  arguments.SetInt("grpc.keepalive_time_ms", 15'000);
  arguments.SetInt("grpc.keepalive_timeout_ms", 15'000);
  arguments.SetInt("grpc.keepalive_permit_without_calls", 1);
  arguments.SetInt("grpc.http2.max_pings_without_data", 0);
  // A server that comes back is found while a generation lingers.
  arguments.SetInt("grpc.initial_reconnect_backoff_ms", 200);
  arguments.SetInt("grpc.max_reconnect_backoff_ms", 2'000);
  return arguments;
}

/// One call of CancelGeneration among several at once.
struct Cancel {
  grpc::ClientContext context;
  v1::CancelGenerationRequest request;
  v1::CancelGenerationResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::CancelGenerationResponse>> call;
};

}  // namespace

Connection::Connection(const std::string& target, const ClientOptions& options)
    : metadata_(call_metadata(options)),
      channel_(
          grpc::CreateCustomChannel(target, channel_credentials(options.tls), channel_arguments())),
      images_(v1::ImageGenerationService::NewStub(channel_)),
      models_(v1::ModelService::NewStub(channel_)) {}

void Connection::prepare(grpc::ClientContext& context, const Deadline& deadline,
                         const Metadata& metadata) const {
  for (const Metadata* all : {&metadata_, &metadata}) {
    for (const auto& [name, value] : *all) {
      context.AddMetadata(name, value);
    }
  }
  context.set_deadline(deadline.to_grpc());
}

void Connection::check_open() const {
  if (is_closed()) {
    throw std::logic_error("the client is closed");
  }
}

bool Connection::is_closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void Connection::close() noexcept {
  std::vector<Lingering> generations;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) {
      return;
    }
    closed_ = true;
    for (const auto& [reader, generation] : lingering_) {
      generations.push_back(generation);
    }
  }
  cancel_all(generations);
  closing_.request_stop();
}

void Connection::cancel_left(const std::string& request_id, const Metadata& metadata) noexcept {
  cancel_all({{request_id, metadata}});
}

void Connection::note_lingering(const void* reader, Lingering generation) {
  const std::lock_guard lock(mutex_);
  if (closed_) {
    throw std::logic_error("the client is closed");
  }
  lingering_.insert_or_assign(reader, std::move(generation));
}

void Connection::forget_lingering(const void* reader) noexcept {
  const std::lock_guard lock(mutex_);
  lingering_.erase(reader);
}

void Connection::cancel_all(const std::vector<Lingering>& generations) const {
  // All at once, so that many take no longer than one.
  const Deadline deadline = Deadline::after(longest_cancel);
  grpc::CompletionQueue queue;
  std::deque<Cancel> cancels(generations.size());
  for (std::size_t index = 0; index < cancels.size(); ++index) {
    Cancel& cancel = cancels[index];
    prepare(cancel.context, deadline, generations[index].metadata);
    cancel.request.set_request_id(generations[index].request_id);
    cancel.call = images_->AsyncCancelGeneration(&cancel.context, cancel.request, &queue);
    cancel.call->Finish(&cancel.response, &cancel.status, &cancel);
  }
  void* tag = nullptr;
  bool ok = false;
  for (std::size_t ended = 0; ended < cancels.size() && queue.Next(&tag, &ok); ++ended) {
  }
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
}

}  // namespace leyden::detail
