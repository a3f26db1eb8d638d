#include "scripted_server.hpp"

#include <grpcpp/server_builder.h>

#include <chrono>

namespace leyden::testing {

namespace {

/// A call that streams, counted while it lasts.
class Counted {
 public:
  Counted(std::mutex& mutex, std::condition_variable& changed, int& count)
      : mutex_(mutex), changed_(changed), count_(count) {
    add(1);
  }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  Counted(Counted&&) = delete;
  Counted& operator=(Counted&&) = delete;
  ~Counted() { add(-1); }

 private:
  void add(int number) {
    const std::lock_guard lock(mutex_);
    count_ += number;
    changed_.notify_all();
  }

  std::mutex& mutex_;
  std::condition_variable& changed_;
  int& count_;
};

}  // namespace

ScriptedServer::ScriptedServer() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  target_ = "127.0.0.1:" + std::to_string(port);
}

ScriptedServer::~ScriptedServer() {
  // Cancels the calls that still run.
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

std::vector<v1::GenerateImageRequest> ScriptedServer::requests() {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::vector<v1::WatchGenerationRequest> ScriptedServer::watches() {
  const std::lock_guard lock(mutex_);
  return watches_;
}

std::vector<std::string> ScriptedServer::cancels() {
  const std::lock_guard lock(mutex_);
  return cancels_;
}

void ScriptedServer::wait_until_held(int calls) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this, calls] { return held_ >= calls; });
}

void ScriptedServer::wait_until_left() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return streaming_ == 0; });
}

grpc::Status ScriptedServer::GenerateImage(grpc::ServerContext* context,
                                           const v1::GenerateImageRequest* request,
                                           grpc::ServerWriter<v1::GenerateImageResponse>* writer) {
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(*request);
  }
  return play(script, request->request_id(), *context, *writer);
}

grpc::Status ScriptedServer::WatchGeneration(
    grpc::ServerContext* context, const v1::WatchGenerationRequest* request,
    grpc::ServerWriter<v1::GenerateImageResponse>* writer) {
  {
    const std::lock_guard lock(mutex_);
    watches_.push_back(*request);
  }
  return play(watch_script, request->request_id(), *context, *writer);
}

grpc::Status ScriptedServer::CancelGeneration(grpc::ServerContext* context,
                                              const v1::CancelGenerationRequest* request,
                                              v1::CancelGenerationResponse* /*response*/) {
  {
    const std::lock_guard lock(mutex_);
    cancels_.push_back(request->request_id());
  }
  if (cancel_holds) {
    hold(*context);
  }
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::play(const Script& played, const std::string& request_id,
                                  grpc::ServerContext& context,
                                  grpc::ServerWriter<v1::GenerateImageResponse>& writer) {
  const Counted counted(mutex_, changed_, streaming_);
  for (v1::GenerateImageResponse event : played.events) {
    event.set_request_id(request_id);
    writer.Write(event);
  }
  if (played.holds) {
    hold(context);
  }
  return played.status;
}

void ScriptedServer::hold(const grpc::ServerContext& context) {
  std::unique_lock lock(mutex_);
  ++held_;
  changed_.notify_all();
  // gRPC's synchronous server does not tell of a cancelled call; it has to be asked.
  while (!context.IsCancelled()) {
    changed_.wait_for(lock, std::chrono::milliseconds(5));
  }
  --held_;
}

std::vector<v1::GenerateImageResponse> whole_generation() {
  std::vector<v1::GenerateImageResponse> events(6);
  events[0].mutable_queued()->set_position(2);
  events[1].mutable_text_encoded()->set_token_count(9);
  for (int step = 1; step <= 2; ++step) {
    auto& progress = *events[static_cast<std::size_t>(step) + 1].mutable_denoise_progress();
    progress.set_step(step);
    progress.set_total_steps(2);
  }
  auto& image = *events[4].mutable_image();
  image.set_seed(7);
  image.set_format(v1::OUTPUT_FORMAT_PNG);
  image.set_data("pixels");
  image.set_size_bytes(6);
  events[5].mutable_summary()->set_model("tiny");
  for (std::size_t index = 0; index < events.size(); ++index) {
    events[index].set_event_index(static_cast<std::int64_t>(index));
  }
  return events;
}

std::vector<v1::GenerateImageResponse> first(int count) {
  const auto events = whole_generation();
  return {events.begin(), events.begin() + count};
}

}  // namespace leyden::testing
