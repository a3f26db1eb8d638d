package ai.leyden.client;

import io.grpc.Status;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * What the status of a call and its details said.
 *
 * @param code the gRPC status code
 * @param message what went wrong, in words
 * @param reason why, in UPPER_SNAKE_CASE; empty where no Leyden server answered
 * @param metadata more on the reason
 * @param violations the fields that are wrong
 * @param retryAfter when a later try can succeed; null: nobody said
 * @param cause what gRPC threw; null: this client itself ended the call
 */
record Failure(
    Status.Code code,
    String message,
    String reason,
    Map<String, String> metadata,
    List<FieldViolation> violations,
    Duration retryAfter,
    Throwable cause)
    implements Serializable {
  Failure {
    metadata = Map.copyOf(metadata);
    violations = List.copyOf(violations);
  }

  /** A failure that this client itself states. */
  Failure(Status.Code code, String message, Throwable cause) {
    this(code, message, "", Map.of(), List.of(), null, cause);
  }

  /** The message, and the violations that a server has not put into it already. */
  String text() {
    Stream<String> unsaid =
        violations.stream()
            .filter(violation -> !message.contains(violation.description()))
            .map(violation -> "  " + violation.field() + ": " + violation.description());
    return Stream.concat(Stream.of(message), unsaid).collect(Collectors.joining("\n"));
  }
}
