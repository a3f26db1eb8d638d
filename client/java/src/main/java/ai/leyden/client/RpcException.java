package ai.leyden.client;

import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The call ended with a status other than OK.
 *
 * <p>Its subclasses are what can be told apart; a status that is in none of them is a plain {@code
 * RpcException}, with its {@link #code()}. Decide by the class or the {@link #reason()}, not by the
 * text of the message.
 */
public sealed class RpcException extends LeydenException
    permits AlreadyExistsException,
        DeadlineExceededException,
        EventsExpiredException,
        FailedPreconditionException,
        GenerationCancelledException,
        InternalException,
        InvalidArgumentException,
        MessageTooLargeException,
        NoResourcesException,
        NotFoundException,
        OutOfMemoryException,
        OverloadedException,
        PermissionDeniedException,
        ReaderTooSlowException,
        UnauthenticatedException,
        UnavailableException {
  private static final long serialVersionUID = 1L;

  /** What the status and its details said. */
  private final Failure failure;

  RpcException(Failure failure) {
    super(failure.text(), failure.cause());
    this.failure = failure;
  }

  /**
   * Returns the gRPC status code.
   *
   * @return the code, never OK
   */
  public Status.Code code() {
    return failure.code();
  }

  /**
   * Returns why, in UPPER_SNAKE_CASE.
   *
   * @return the reason; empty where no Leyden server answered
   */
  public String reason() {
    return failure.reason();
  }

  /**
   * Returns more on the reason.
   *
   * @return what the server said, by name
   */
  public Map<String, String> metadata() {
    return failure.metadata();
  }

  /**
   * Returns the fields that are wrong.
   *
   * @return the fields; empty unless the code is INVALID_ARGUMENT
   */
  public List<FieldViolation> violations() {
    return failure.violations();
  }

  /**
   * Returns how long to wait before a later try can succeed.
   *
   * @return the wait; empty: the server did not say
   */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(failure.retryAfter());
  }
}
