#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "deadline.hpp"
#include "leyden/client.hpp"
#include "leyden/v1/image_generation_service.grpc.pb.h"
#include "leyden/v1/model_service.grpc.pb.h"

namespace leyden::detail {

/// For how long whoever leaves a generation waits for the server to hear of it.
inline constexpr Seconds longest_cancel{2};

/// A generation that goes on without its reader.
struct Lingering {
  std::string request_id;
  /// Goes with every call that is made for it.
  Metadata metadata;
};

/// What all calls of a client share: its channel, what goes with every call, and its end.
class Connection {
 public:
  /// Throws `std::invalid_argument` where the options cannot be.
  Connection(const std::string& target, const ClientOptions& options);

  [[nodiscard]] v1::ImageGenerationService::Stub& images() const { return *images_; }
  [[nodiscard]] v1::ModelService::Stub& models() const { return *models_; }
  [[nodiscard]] const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  /// Gives a call what goes with every call, what goes with this one, and its deadline.
  void prepare(grpc::ClientContext& context, const Deadline& deadline,
               const Metadata& metadata = {}) const;

  /// Throws `std::logic_error` once the connection is closed.
  void check_open() const;
  [[nodiscard]] bool is_closed() const;
  /// Asked to stop once the connection closes.
  [[nodiscard]] std::stop_token closing() const { return closing_.get_token(); }

  /// Cancels the generations that linger, within `longest_cancel`, and ends all calls.
  void close() noexcept;

  /// Cancels a generation that its reader leaves; what goes wrong changes nothing more.
  void cancel_left(const std::string& request_id, const Metadata& metadata) noexcept;

  /// Notes that `reader` follows a generation that lingers, for `close` to cancel it.
  void note_lingering(const void* reader, Lingering generation);
  void forget_lingering(const void* reader) noexcept;

 private:
  void cancel_all(const std::vector<Lingering>& generations) const;

  Metadata metadata_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ImageGenerationService::Stub> images_;
  std::unique_ptr<v1::ModelService::Stub> models_;

  mutable std::mutex mutex_;
  bool closed_ = false;
  std::unordered_map<const void*, Lingering> lingering_;
  std::stop_source closing_;
};

}  // namespace leyden::detail
