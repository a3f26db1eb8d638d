#pragma once

#include <grpcpp/server.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "leyden/v1/image_generation_service.grpc.pb.h"

namespace leyden::testing {

/// What a call that streams does: sends these events, then ends with `status`, or holds until its
/// end.
struct Script {
  std::vector<v1::GenerateImageResponse> events;
  grpc::Status status = grpc::Status::OK;
  bool holds = false;
};

/// A real gRPC server whose replies a test writes down beforehand.
class ScriptedServer final : public v1::ImageGenerationService::Service {
 public:
  ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;
  ScriptedServer(ScriptedServer&&) = delete;
  ScriptedServer& operator=(ScriptedServer&&) = delete;
  ~ScriptedServer() override;

  /// Of each GenerateImage call.
  Script script;
  /// Of each WatchGeneration call.
  Script watch_script;
  /// Whether CancelGeneration never answers.
  bool cancel_holds = false;

  [[nodiscard]] const std::string& target() const { return target_; }
  [[nodiscard]] std::vector<v1::GenerateImageRequest> requests();
  [[nodiscard]] std::vector<v1::WatchGenerationRequest> watches();
  /// The request_id of each CancelGeneration call.
  [[nodiscard]] std::vector<std::string> cancels();
  /// Waits until so many calls are at their hold.
  void wait_until_held(int calls);
  /// Waits until every call that streams has ended.
  void wait_until_left();

 private:
  grpc::Status GenerateImage(grpc::ServerContext* context, const v1::GenerateImageRequest* request,
                             grpc::ServerWriter<v1::GenerateImageResponse>* writer) override;
  grpc::Status WatchGeneration(grpc::ServerContext* context,
                               const v1::WatchGenerationRequest* request,
                               grpc::ServerWriter<v1::GenerateImageResponse>* writer) override;
  grpc::Status CancelGeneration(grpc::ServerContext* context,
                                const v1::CancelGenerationRequest* request,
                                v1::CancelGenerationResponse* response) override;
  grpc::Status play(const Script& played, const std::string& request_id,
                    grpc::ServerContext& context,
                    grpc::ServerWriter<v1::GenerateImageResponse>& writer);
  void hold(const grpc::ServerContext& context);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<v1::GenerateImageRequest> requests_;
  std::vector<v1::WatchGenerationRequest> watches_;
  std::vector<std::string> cancels_;
  int held_ = 0;
  int streaming_ = 0;
  std::string target_;
  std::unique_ptr<grpc::Server> server_;
};

/// A generation of one image in two steps that goes well.
std::vector<v1::GenerateImageResponse> whole_generation();

/// The first `count` events of a generation.
std::vector<v1::GenerateImageResponse> first(int count);

}  // namespace leyden::testing
