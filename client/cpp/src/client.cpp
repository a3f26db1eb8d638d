#include "leyden/client.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "connection.hpp"
#include "deadline.hpp"
#include "health.hpp"
#include "request_message.hpp"
#include "status.hpp"
#include "stream.hpp"
#include "wire.hpp"

namespace leyden {

namespace {

using detail::Connection;
using detail::Stream;
using detail::StreamPlan;

/// Stopped by a caller's token and a connection's closing alike.
class Stopping {
 public:
  Stopping(const Connection& connection, const std::stop_token& stop)
      : on_stop_(stop, Forward{source_}), on_closing_(connection.closing(), Forward{source_}) {}

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  struct Forward {
    std::stop_source source;
    void operator()() const { source.request_stop(); }
  };

  std::stop_source source_;
  std::stop_callback<Forward> on_stop_;
  std::stop_callback<Forward> on_closing_;
};

/// Throws why a call ended, where that was asked for here.
void throw_if_stopped(const Connection& connection, const std::stop_token& stop) {
  if (stop.stop_requested()) {
    detail::throw_failure(connection.is_closed() ? detail::closed_while_running()
                                                 : detail::stopped_by_caller());
  }
}

/// Makes a call with one answer, by a method of a stub.
template <typename Stub, typename Request, typename Response>
Response call(Connection& connection, Stub& stub,
              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
              const Request& request, const CallOptions& options) {
  connection.check_open();
  const Stopping stopping(connection, options.stop);
  grpc::ClientContext context;
  connection.prepare(context, detail::Deadline::after(options.timeout), options.metadata);
  const std::stop_callback on_stop(stopping.token(), [&context] { context.TryCancel(); });
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) {
    throw_if_stopped(connection, stopping.token());
    auto failure = detail::failure_of(status);
    if (failure.code == StatusCode::deadline_exceeded && failure.reason.empty() &&
        options.timeout) {
      failure = detail::timed_out(*options.timeout);
    }
    detail::throw_failure(std::move(failure));
  }
  return response;
}

std::unique_ptr<Stream> started(const std::shared_ptr<Connection>& connection,
                                const GenerateRequest& request, const GenerateOptions& options) {
  connection->check_open();
  auto message = detail::repeatable_request(request, options);
  auto request_id = message.request_id();
  return std::make_unique<Stream>(connection,
                                  StreamPlan{
                                      .request = std::move(message),
                                      .request_id = std::move(request_id),
                                      .id_is_ours = request.request_id.empty(),
                                      .reattach = options.linger.value_or(detail::default_linger),
                                      .timeout = options.timeout,
                                      .stop = options.stop,
                                      .metadata = options.metadata,
                                  });
}

/// Gathers the events of one generation into the whole.
class Collector {
 public:
  void add(Event& event) {
    if (auto* image = std::get_if<Image>(&event)) {
      whole_.images.push_back(std::move(*image));
    } else if (auto* summary = std::get_if<Summary>(&event)) {
      whole_.request_id = summary->request_id;
      whole_.summary = std::move(*summary);
    }
  }

  [[nodiscard]] Generation generation() && {
    std::ranges::sort(whole_.images, {}, &Image::image_index);
    return std::move(whole_);
  }

 private:
  Generation whole_;
};

}  // namespace

Client::Client(std::string target, ClientOptions options)
    : connection_(std::make_shared<Connection>(target, options)) {}

Client::Client(Client&& other) noexcept = default;

Client& Client::operator=(Client&& other) noexcept {
  if (this != &other) {
    close();
    connection_ = std::move(other.connection_);
  }
  return *this;
}

Client::~Client() { close(); }

void Client::close() noexcept {
  if (connection_) {
    connection_->close();
  }
}

EventStream Client::stream_image(const GenerateRequest& request, const GenerateOptions& options) {
  return EventStream(started(connection(), request, options));
}

Generation Client::generate_image(const GenerateRequest& request, const GenerateOptions& options) {
  EventStream events = stream_image(request, options);
  Collector collector;
  for (Event& event : events) {
    collector.add(event);
  }
  return std::move(collector).generation();
}

std::optional<Generation> Client::generate_while(const GenerateRequest& request,
                                                 const std::function<bool(const Event&)>& on_event,
                                                 const GenerateOptions& options) {
  EventStream events = stream_image(request, options);
  Collector collector;
  for (Event& event : events) {
    if (!on_event(event)) {
      return std::nullopt;
    }
    collector.add(event);
  }
  return std::move(collector).generation();
}

std::string Client::start_image(const GenerateRequest& request, GenerateOptions options) {
  options.linger = options.linger.value_or(detail::detached_linger);
  if (!(*options.linger > Seconds::zero())) {
    throw std::invalid_argument("a generation that is left needs a linger above 0");
  }
  const auto stream = started(connection(), request, options);
  // Its first event says that it is accepted.
  stream->start();
  stream->detach();
  return stream->request_id();
}

EventStream Client::watch(std::string request_id, std::optional<std::int64_t> after_event_index,
                          const CallOptions& options) {
  connection()->check_open();
  return EventStream(
      std::make_unique<Stream>(connection(), StreamPlan{
                                                 .request_id = std::move(request_id),
                                                 .after_event_index = after_event_index,
                                                 .reattach = detail::default_linger,
                                                 .timeout = options.timeout,
                                                 .stop = options.stop,
                                                 .metadata = options.metadata,
                                             }));
}

void Client::cancel(const std::string& request_id, const CallOptions& options) {
  v1::CancelGenerationRequest request;
  request.set_request_id(request_id);
  call(*connection(), connection()->images(), &v1::ImageGenerationService::Stub::CancelGeneration,
       request, options);
}

std::vector<Model> Client::list_models(const CallOptions& options) {
  const auto response = call(*connection(), connection()->models(),
                             &v1::ModelService::Stub::ListModels, v1::ListModelsRequest(), options);
  std::vector<Model> models;
  for (const auto& message : response.models()) {
    models.push_back(detail::model(message));
  }
  return models;
}

Model Client::get_model(const std::string& name, const CallOptions& options) {
  v1::GetModelRequest request;
  request.set_model(name);
  return detail::model(call(*connection(), connection()->models(),
                            &v1::ModelService::Stub::GetModel, request, options)
                           .model());
}

Model Client::load_model(const std::string& name, const CallOptions& options) {
  v1::LoadModelRequest request;
  request.set_model(name);
  return detail::model(call(*connection(), connection()->models(),
                            &v1::ModelService::Stub::LoadModel, request, options)
                           .model());
}

void Client::unload_model(const std::string& name, const CallOptions& options) {
  v1::UnloadModelRequest request;
  request.set_model(name);
  call(*connection(), connection()->models(), &v1::ModelService::Stub::UnloadModel, request,
       options);
}

ServerState Client::get_server_state(const CallOptions& options) {
  return detail::server_state(call(*connection(), connection()->models(),
                                   &v1::ModelService::Stub::GetServerState,
                                   v1::GetServerStateRequest(), options));
}

void Client::wait_until_ready(const CallOptions& options) {
  connection()->check_open();
  const Stopping stopping(*connection(), options.stop);
  const auto deadline = detail::Deadline::after(options.timeout);
  try {
    detail::wait_until_serving(*connection(), deadline, stopping.token());
  } catch (const RpcError& error) {
    throw_if_stopped(*connection(), stopping.token());
    if (error.code() == StatusCode::deadline_exceeded && options.timeout) {
      detail::throw_failure(detail::timed_out(*options.timeout));
    }
    throw;
  }
}

const std::shared_ptr<Connection>& Client::connection() const {
  if (!connection_) {
    throw std::logic_error("the client was moved from");
  }
  return connection_;
}

}  // namespace leyden
