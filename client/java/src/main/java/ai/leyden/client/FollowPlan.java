package ai.leyden.client;

import ai.leyden.v1.GenerateImageRequest;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * Which generation is followed, and how.
 *
 * @param requestId the generation's name
 * @param request what to generate; empty: it is watched alone
 * @param idIsOurs whether the name was drawn by this client, so that nobody else has it
 * @param afterEventIndex the event after which others are wanted; empty: all are
 * @param reattachFor a connection that broke is given up so long after its last event
 * @param timeout everything is given up after this; empty: never
 */
record FollowPlan(
    String requestId,
    Optional<GenerateImageRequest> request,
    boolean idIsOurs,
    OptionalLong afterEventIndex,
    Duration reattachFor,
    Optional<Duration> timeout) {

  static FollowPlan of(GenerateRequest request) {
    GenerateImageRequest message = request.repeatable();
    return new FollowPlan(
        message.getRequestId(),
        Optional.of(message),
        !request.namesItself(),
        OptionalLong.empty(),
        request.linger().orElse(GenerateRequest.DEFAULT_LINGER),
        request.timeout());
  }

  static FollowPlan of(WatchRequest request) {
    return new FollowPlan(
        request.requestId(),
        Optional.empty(),
        false,
        request.afterEventIndex(),
        GenerateRequest.DEFAULT_LINGER,
        request.timeout());
  }

  /** Whether the generation outlives its call. */
  boolean lingers() {
    return request.filter(GenerateImageRequest::hasLingerDuration).isPresent();
  }

  /** How many images were asked for; empty: not known. */
  OptionalInt imageCount() {
    return request
        .map(message -> OptionalInt.of(Math.max(1, message.getImageCount())))
        .orElse(OptionalInt.empty());
  }
}
