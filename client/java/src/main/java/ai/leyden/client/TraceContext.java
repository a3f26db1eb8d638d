package ai.leyden.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import java.util.Optional;

/**
 * The caller's trace goes along with its calls: W3C Trace Context in the metadata.
 *
 * <p>OpenTelemetry is asked where the program has it, and is no dependency of its users.
 */
final class TraceContext {
  private static final boolean HAS_OPENTELEMETRY = hasOpenTelemetry();

  private TraceContext() {}

  /**
   * Gives calls the trace of the span that is current now, in this thread: calls that take up a
   * broken connection are made by others. Empty: there is no span.
   */
  static Optional<ClientInterceptor> ofCaller() {
    if (!HAS_OPENTELEMETRY) {
      return Optional.empty();
    }
    Metadata current = OpenTelemetry.current();
    return current.keys().isEmpty() ? Optional.empty() : Optional.of(new Attaching(current));
  }

  private static boolean hasOpenTelemetry() {
    try {
      Class.forName("io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator");
      return true;
    } catch (ClassNotFoundException absent) {
      return false;
    }
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  /** A class of its own, so that nothing of OpenTelemetry is loaded where it is not. */
  private static final class OpenTelemetry {
    static Metadata current() {
      Metadata headers = new Metadata();
      W3CTraceContextPropagator.getInstance()
          .inject(
              Context.current(), headers, (carrier, name, value) -> carrier.put(key(name), value));
      return headers;
    }
  }

  /** Metadata that name a trace already, by another interceptor, stay as they are. */
  private record Attaching(Metadata trace) implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(
        MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
        @Override
        public void start(Listener<A> listener, Metadata headers) {
          if (!headers.containsKey(key("traceparent"))) {
            headers.merge(trace);
          }
          super.start(listener, headers);
        }
      };
    }
  }
}
