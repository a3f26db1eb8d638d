#include "call.hpp"

#include <exception>
#include <stdexcept>
#include <stop_token>
#include <thread>

#include "answer.hpp"

namespace runner {

namespace {

leyden::EventStream stream_of(leyden::Client& client, const Ask& ask, const std::stop_token& stop) {
  if (ask.call == "watch") {
    return client.watch(ask.request.request_id, ask.after_event_index,
                        {.timeout = ask.timeout, .stop = stop, .metadata = ask.metadata});
  }
  return client.stream_image(
      ask.request,
      {.timeout = ask.timeout, .linger = ask.linger, .stop = stop, .metadata = ask.metadata});
}

void read(leyden::Client& client, const Ask& ask, Answer& answer) {
  std::stop_source stopping;
  int seen = 0;
  leyden::EventStream events = stream_of(client, ask, stopping.get_token());
  answer.set_request_id(events.request_id());
  try {
    for (const leyden::Event& event : events) {
      answer.record(event);
      if (ask.leave && kind_of(event) == ask.leave->after && ++seen == ask.leave->count) {
        if (ask.leave->by == "break") {
          answer.set_left("break");
          break;
        }
        stopping.request_stop();
      }
      if (ask.pause) {
        std::this_thread::sleep_for(*ask.pause);
      }
    }
  } catch (const leyden::GenerationCancelledError&) {
    if (!stopping.stop_requested()) {
      throw;
    }
    answer.set_left("cancel");
  }
}

void make_call(leyden::Client& client, const Ask& ask, Answer& answer) {
  const leyden::CallOptions options{.timeout = ask.timeout, .metadata = ask.metadata};
  if (ask.call == "generate" || ask.call == "watch") {
    read(client, ask, answer);
  } else if (ask.call == "cancel") {
    client.cancel(ask.request.request_id, options);
  } else if (ask.call == "list_models") {
    for (const leyden::Model& model : client.list_models(options)) {
      answer.add_model(model);
    }
  } else if (ask.call == "get_model") {
    answer.add_model(client.get_model(ask.request.model, options));
  } else if (ask.call == "load_model") {
    answer.add_model(client.load_model(ask.request.model, options));
  } else if (ask.call == "unload_model") {
    client.unload_model(ask.request.model, options);
  } else if (ask.call == "get_server_state") {
    answer.set_state(client.get_server_state(options));
  } else if (ask.call == "wait_until_ready") {
    client.wait_until_ready(options);
  } else if (ask.call == "start") {
    answer.set_request_id(
        client.start_image(ask.request, {.timeout = ask.timeout, .linger = ask.linger}));
  } else {
    throw std::invalid_argument("no call " + ask.call);
  }
}

}  // namespace

Json answered(const Ask& ask) {
  Answer answer(ask.name);
  try {
    leyden::Client client(ask.target, ask.client);
    make_call(client, ask, answer);
  } catch (const std::exception& error) {
    answer.set_error(error);
  }
  return answer.json();
}

}  // namespace runner
