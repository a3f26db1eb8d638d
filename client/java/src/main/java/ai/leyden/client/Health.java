package ai.leyden.client;

import com.google.protobuf.Empty;
import com.google.protobuf.Int32Value;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.Iterator;
import java.util.Optional;
import java.util.concurrent.TimeUnit;

/** The health service at the other end of a channel. */
final class Health {
  /** The number in grpc.health.v1.HealthCheckResponse. */
  private static final int SERVING = 1;

  private static final Duration FIRST_PAUSE = Duration.ofMillis(50);
  private static final Duration LONGEST_PAUSE = Duration.ofSeconds(2);

  /**
   * HealthCheckRequest for the whole server has no field set, and the only field of
   * HealthCheckResponse is an enum numbered 1: on the wire they are these two well-known types. So
   * the package of the health service is not needed.
   */
  private static final MethodDescriptor<Empty, Int32Value> WATCH =
      MethodDescriptor.<Empty, Int32Value>newBuilder()
          .setType(MethodDescriptor.MethodType.SERVER_STREAMING)
          .setFullMethodName("grpc.health.v1.Health/Watch")
          .setRequestMarshaller(ProtoUtils.marshaller(Empty.getDefaultInstance()))
          .setResponseMarshaller(ProtoUtils.marshaller(Int32Value.getDefaultInstance()))
          .build();

  private final Channel channel;

  Health(Channel channel) {
    this.channel = channel;
  }

  /** Waits for SERVING, through anything that passes. */
  void awaitServing(Optional<Duration> timeout) {
    Optional<Deadline> deadline =
        timeout.map(limit -> Deadline.after(limit.toNanos(), TimeUnit.NANOSECONDS));
    Duration pause = FIRST_PAUSE;
    while (!serves(deadline)) {
      // Whatever ends watches at once must not be flooded with new ones.
      long pauseNanos = pause.toNanos();
      if (deadline
          .filter(end -> end.timeRemaining(TimeUnit.NANOSECONDS) <= pauseNanos)
          .isPresent()) {
        throw Failures.timedOut(timeout.orElseThrow(), null);
      }
      try {
        TimeUnit.NANOSECONDS.sleep(pauseNanos);
      } catch (InterruptedException interrupt) {
        Thread.currentThread().interrupt();
        throw Failures.interrupted(interrupt);
      }
      Duration doubled = pause.multipliedBy(2);
      pause = doubled.compareTo(LONGEST_PAUSE) < 0 ? doubled : LONGEST_PAUSE;
    }
  }

  /** Watches the health until it is SERVING (true), or the watch ends (false). */
  private boolean serves(Optional<Deadline> deadline) {
    Context.CancellableContext watching = Context.current().withCancellation();
    Context before = watching.attach();
    try {
      Iterator<Int32Value> statuses =
          ClientCalls.blockingServerStreamingCall(
              channel,
              WATCH,
              CallOptions.DEFAULT.withDeadline(deadline.orElse(null)),
              Empty.getDefaultInstance());
      while (statuses.hasNext()) {
        if (statuses.next().getValue() == SERVING) {
          return true;
        }
      }
      return false;
    } catch (StatusRuntimeException thrown) {
      RpcException failure = Failures.of(thrown);
      // The server is not there yet, or went while it was watched: it may come back.
      if (failure instanceof UnavailableException) {
        return false;
      }
      throw failure;
    } finally {
      watching.detachAndCancel(before, null);
    }
  }
}
