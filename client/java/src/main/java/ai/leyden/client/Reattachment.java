package ai.leyden.client;

import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;

/** How long a broken connection is tried again, and how soon. */
final class Reattachment {
  private static final Duration FIRST_PAUSE = Duration.ofMillis(100);
  private static final Duration LONGEST_PAUSE = Duration.ofSeconds(2);

  private final Duration limit;
  private OptionalLong brokenSinceNanos = OptionalLong.empty();
  private Duration pause = FIRST_PAUSE;

  /** Gives a connection up once it has been broken for {@code limit}. */
  Reattachment(Duration limit) {
    this.limit = limit;
  }

  /** Says that something came. */
  void connected() {
    brokenSinceNanos = OptionalLong.empty();
    pause = FIRST_PAUSE;
  }

  /** Says that the connection broke; returns the pause before the next try, or empty: give up. */
  Optional<Duration> broken() {
    long now = System.nanoTime();
    if (brokenSinceNanos.isEmpty()) {
      brokenSinceNanos = OptionalLong.of(now);
    }
    Duration lasts = Duration.ofNanos(now - brokenSinceNanos.getAsLong());
    if (lasts.plus(pause).compareTo(limit) >= 0) {
      return Optional.empty();
    }
    Duration next = pause;
    Duration doubled = pause.multipliedBy(2);
    pause = doubled.compareTo(LONGEST_PAUSE) < 0 ? doubled : LONGEST_PAUSE;
    return Optional.of(next);
  }
}
