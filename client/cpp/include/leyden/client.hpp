/// @file
/// The client of one Leyden server.
///
/// @mainpage leyden-client
///
///     #include <leyden/client.hpp>
///
///     int main() {
///       leyden::Client client("127.0.0.1:8001");
///       const auto generation = client.generate_image({.prompt = "a lighthouse at dusk"});
///       generation.images.at(0).save("lighthouse.png");
///     }
///
/// `leyden::Client` has the calls, `leyden::EventStream` is a generation as a range of events
/// (events.hpp), and errors.hpp draws what can go wrong.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "leyden/errors.hpp"
#include "leyden/event_stream.hpp"
#include "leyden/events.hpp"
#include "leyden/models.hpp"
#include "leyden/request.hpp"
#include "leyden/security.hpp"
#include "leyden/server_state.hpp"
#include "leyden/version.hpp"

/// Client of Leyden, a gRPC model server for SDXL-Lightning.
namespace leyden {

namespace detail {
class Connection;
}

/// Where a client looks for a server that it was not told of.
inline constexpr std::string_view default_target = "127.0.0.1:8001";

/// How a client connects.
struct ClientOptions {
  /// Absent: plaintext.
  std::optional<TlsOptions> tls = {};
  /// Goes with every call as `authorization: Bearer …`: over a network rather with TLS, or
  /// everybody on the way reads it. Absent: none.
  std::optional<std::string> api_key = {};
  /// Goes with every call.
  Metadata metadata = {};
};

/// Client of one Leyden server; connects at its first call, and again where a connection broke.
///
/// Several threads may use one client at once. Every call throws a kind of `Error` where the
/// server refuses or fails, and `std::logic_error` once the client is closed or moved from.
class Client {
 public:
  /// Prepares a connection to `target`: host:port, or any name of gRPC.
  ///
  /// @throws std::invalid_argument The options do not go together, or cannot be.
  explicit Client(std::string target = std::string(default_target), ClientOptions options = {});

  /// Takes over the connection; what was started by `other` goes on.
  Client(Client&& other) noexcept;
  /// Closes this client first.
  Client& operator=(Client&& other) noexcept;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  /// Closes the client.
  ~Client();

  /// Cancels the generations that were started and still run, within 2 seconds, and ends all
  /// calls: who reads one gets a `GenerationCancelledError`.
  void close() noexcept;

  /// Generates images, and returns the range of its events, the `Summary` last.
  ///
  /// Nothing is sent before its `begin`. Destroying the range, as a `break` out of a range-for
  /// does, ends the generation on the server. The client must live while the range is read.
  ///
  /// A connection that breaks in the midst of it is taken up again for `options.linger`, and no
  /// event comes twice: the generation goes on meanwhile, and is watched again from where its
  /// events stopped. If the server does not know it any more, the same request, with the same
  /// request_id and seed, is sent again.
  ///
  /// @throws std::invalid_argument An option cannot be put on the wire.
  /// @throws std::logic_error The client is closed.
  [[nodiscard]] EventStream stream_image(const GenerateRequest& request,
                                         const GenerateOptions& options = {});

  /// Generates images and returns them with their summary.
  ///
  /// @throws RpcError Its subclasses say what happened.
  /// @throws ProtocolError The stream broke the API's contract.
  [[nodiscard]] Generation generate_image(const GenerateRequest& request,
                                          const GenerateOptions& options = {});

  /// Generates images, calls `on_event` with each event as it comes, and returns the whole.
  ///
  /// Where `on_event` returns false or throws, the generation is left as a `break` leaves it;
  /// false returns `std::nullopt`.
  ///
  /// @throws RpcError Its subclasses say what happened.
  /// @throws ProtocolError The stream broke the API's contract.
  template <std::predicate<const Event&> OnEvent>
  std::optional<Generation> generate_image(const GenerateRequest& request, OnEvent&& on_event,
                                           const GenerateOptions& options = {}) {
    return generate_while(request, std::forward<OnEvent>(on_event), options);
  }

  /// Starts a generation, leaves it to itself, and returns its request_id once it is accepted.
  ///
  /// It goes on for `options.linger` (absent: 600 s) without being watched, and its events are
  /// kept for as long after its end: `watch` gives them. `options.timeout` is the deadline of the
  /// acceptance alone.
  ///
  /// @throws RpcError Its subclasses say what happened.
  /// @throws std::invalid_argument The linger is not above 0.
  std::string start_image(const GenerateRequest& request, GenerateOptions options = {});

  /// Watches a generation, and returns the range of its events, the `Summary` last.
  ///
  /// Those after `after_event_index`, an index that is known already; absent: all of them. Those
  /// of the past come without their previews. Leaving the range leaves the generation as it is.
  /// A broken connection is taken up again for 15 seconds.
  [[nodiscard]] EventStream watch(std::string request_id,
                                  std::optional<std::int64_t> after_event_index = {},
                                  const CallOptions& options = {});

  /// Ends a generation at once; who watches it gets a `GenerationCancelledError`.
  ///
  /// One that has ended and is kept stays as it is.
  ///
  /// @throws GenerationNotFoundError No such generation runs, or is kept any more.
  /// @throws RpcError Its subclasses say what else happened.
  void cancel(const std::string& request_id, const CallOptions& options = {});

  /// Returns the server's models, by name, the loaded and the others.
  ///
  /// @throws RpcError Its subclasses say what happened.
  [[nodiscard]] std::vector<Model> list_models(const CallOptions& options = {});

  /// Returns the model of that name; empty: the server's default model.
  ///
  /// @throws NotFoundError There is no such model.
  /// @throws RpcError Its subclasses say what else happened.
  [[nodiscard]] Model get_model(const std::string& name = {}, const CallOptions& options = {});

  /// Loads a model, and returns it once it is ready.
  ///
  /// One that is ready is loaded anew where its files have changed, and left alone where not.
  /// Leaving the call, or its timeout, does not stop the load.
  ///
  /// @throws NotFoundError There is no such model.
  /// @throws ModelLoadError It cannot be loaded.
  /// @throws NoResourcesError No replica of its stages can be placed.
  /// @throws RpcError Its subclasses say what else happened.
  Model load_model(const std::string& name, const CallOptions& options = {});

  /// Unloads a model, and returns once its stages are gone; at once where it is not loaded.
  ///
  /// New requests are refused from the call on, and what was accepted finishes for as long as the
  /// server's drain lasts. Leaving the call, or its timeout, does not stop it.
  ///
  /// @throws NotFoundError There is no such model.
  /// @throws RpcError Its subclasses say what else happened.
  void unload_model(const std::string& name, const CallOptions& options = {});

  /// Returns what the server does now; for operators.
  ///
  /// @throws PermissionDeniedError The caller is no operator.
  /// @throws RpcError Its subclasses say what else happened.
  [[nodiscard]] ServerState get_server_state(const CallOptions& options = {});

  /// Waits until the server says that it serves.
  ///
  /// A server that is not there yet, loads or drains is waited for.
  ///
  /// @throws DeadlineExceededError The timeout passed.
  /// @throws RpcError With the code UNIMPLEMENTED where no health service answers.
  void wait_until_ready(const CallOptions& options = {});

 private:
  std::optional<Generation> generate_while(const GenerateRequest& request,
                                           const std::function<bool(const Event&)>& on_event,
                                           const GenerateOptions& options);
  [[nodiscard]] const std::shared_ptr<detail::Connection>& connection() const;

  std::shared_ptr<detail::Connection> connection_;
};

}  // namespace leyden
