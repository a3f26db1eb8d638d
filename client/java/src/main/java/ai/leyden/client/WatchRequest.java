package ai.leyden.client;

import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Which generation to watch, and from where.
 *
 * @param requestId the generation's name
 * @param afterEventIndex an {@link Event#eventIndex()} that is known already, after which events
 *     are wanted; empty: all of them
 * @param timeout deadline of the watching; empty: none
 */
public record WatchRequest(
    String requestId, OptionalLong afterEventIndex, Optional<Duration> timeout) {
  /**
   * Asks for all events of a generation.
   *
   * @param requestId the generation's name
   * @return the request
   */
  public static WatchRequest of(String requestId) {
    return new WatchRequest(requestId, OptionalLong.empty(), Optional.empty());
  }

  /**
   * Returns this request, for the events after a known one.
   *
   * @param eventIndex the known event's index
   * @return another request
   */
  public WatchRequest after(long eventIndex) {
    return new WatchRequest(requestId, OptionalLong.of(eventIndex), timeout);
  }

  /**
   * Returns this request with a deadline.
   *
   * @param limit how long the watching may take
   * @return another request
   */
  public WatchRequest within(Duration limit) {
    return new WatchRequest(requestId, afterEventIndex, Optional.of(limit));
  }
}
