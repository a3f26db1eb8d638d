package ai.leyden.client;

import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/**
 * Tries a connection that failed again within two seconds, so that a server that comes back is
 * found while a generation lingers. gRPC's own pauses grow to two minutes, and no setting shortens
 * them.
 */
final class Reconnection {
  private static final Duration FIRST_PAUSE = Duration.ofMillis(200);
  private static final Duration LONGEST_PAUSE = Duration.ofSeconds(2);

  private final ManagedChannel connection;

  Reconnection(ManagedChannel connection) {
    this.connection = connection;
  }

  /** Looks after the connection from now on, until it is shut down. */
  void begin() {
    ConnectivityState state = connection.getState(false);
    if (state == ConnectivityState.TRANSIENT_FAILURE) {
      after(FIRST_PAUSE).execute(() -> tryAgain(FIRST_PAUSE));
    } else if (state != ConnectivityState.SHUTDOWN) {
      connection.notifyWhenStateChanged(state, this::begin);
    }
  }

  private void tryAgain(Duration paused) {
    // The state stays until a connection stands, however many fail before.
    if (connection.getState(false) != ConnectivityState.TRANSIENT_FAILURE) {
      begin();
      return;
    }
    connection.resetConnectBackoff();
    Duration doubled = paused.multipliedBy(2);
    Duration next = doubled.compareTo(LONGEST_PAUSE) < 0 ? doubled : LONGEST_PAUSE;
    after(next).execute(() -> tryAgain(next));
  }

  private static Executor after(Duration pause) {
    return CompletableFuture.delayedExecutor(pause.toNanos(), TimeUnit.NANOSECONDS);
  }
}
