package ai.leyden.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.regex.Pattern;

/** From the status of a call to the exception that it is. */
final class Failures {
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  /** What gRPC says of a message over its limit, in C, Python, Go and Java. */
  private static final Pattern OVER_THE_LIMIT =
      Pattern.compile("larger than max|exceeds maximum size", Pattern.CASE_INSENSITIVE);

  private static final Map<Status.Code, Function<Failure, RpcException>> OF_CODE =
      new EnumMap<>(
          Map.ofEntries(
              Map.entry(Status.Code.INVALID_ARGUMENT, InvalidArgumentException::new),
              Map.entry(Status.Code.NOT_FOUND, NotFoundException::new),
              Map.entry(Status.Code.OUT_OF_RANGE, EventsExpiredException::new),
              Map.entry(Status.Code.FAILED_PRECONDITION, FailedPreconditionException::new),
              Map.entry(Status.Code.ALREADY_EXISTS, AlreadyExistsException::new),
              Map.entry(Status.Code.RESOURCE_EXHAUSTED, OverloadedException::new),
              Map.entry(Status.Code.UNAVAILABLE, UnavailableException::new),
              Map.entry(Status.Code.UNAUTHENTICATED, UnauthenticatedException::new),
              Map.entry(Status.Code.PERMISSION_DENIED, PermissionDeniedException::new),
              Map.entry(Status.Code.DEADLINE_EXCEEDED, DeadlineExceededException::new),
              Map.entry(Status.Code.CANCELLED, GenerationCancelledException::new),
              Map.entry(Status.Code.INTERNAL, InternalException::new)));

  /** Where one code has several meanings, the reason tells them apart. */
  private static final Map<String, Function<Failure, RpcException>> OF_REASON =
      Map.of(
          "GENERATION_NOT_FOUND", GenerationNotFoundException::new,
          "MANAGED_BY_SERVE_CONFIG", ModelsManagedException::new,
          "MODEL_LOAD_FAILED", ModelLoadException::new,
          "NO_RESOURCES", NoResourcesException::new,
          "OUT_OF_MEMORY", OutOfMemoryException::new,
          "READER_TOO_SLOW", ReaderTooSlowException::new);

  private Failures() {}

  /** Returns the exception for a call that ended with a status other than OK. */
  static RpcException of(Throwable thrown) {
    Failure failure =
        read(Status.fromThrowable(thrown), Status.trailersFromThrowable(thrown), thrown);
    return exceptionClass(failure).apply(failure);
  }

  /** Returns the exception of a call that was running when its client was closed. */
  static RpcException closedWhileRunning() {
    return new GenerationCancelledException(
        new Failure(Status.Code.CANCELLED, "the client was closed while the call ran", null));
  }

  /** Returns the exception of a wait whose thread was interrupted. */
  static RpcException interrupted(InterruptedException interrupt) {
    return new GenerationCancelledException(
        new Failure(
            Status.Code.CANCELLED, "the thread was interrupted while it waited", interrupt));
  }

  /** Returns the exception of a deadline that this client set, and that passed. */
  static RpcException timedOut(Duration timeout, Throwable cause) {
    String text = "the timeout of " + timeout.toMillis() / 1e3 + " s passed";
    return new DeadlineExceededException(new Failure(Status.Code.DEADLINE_EXCEEDED, text, cause));
  }

  private static Function<Failure, RpcException> exceptionClass(Failure failure) {
    // The code alone is a proxy's overload too.
    if (failure.code() == Status.Code.RESOURCE_EXHAUSTED
        && failure.reason().isEmpty()
        && OVER_THE_LIMIT.matcher(failure.message()).find()) {
      return MessageTooLargeException::new;
    }
    Function<Failure, RpcException> ofReason = OF_REASON.get(failure.reason());
    return ofReason != null ? ofReason : OF_CODE.getOrDefault(failure.code(), RpcException::new);
  }

  private static Failure read(Status status, Metadata trailers, Throwable thrown) {
    ErrorInfo info = ErrorInfo.getDefaultInstance();
    BadRequest request = BadRequest.getDefaultInstance();
    RetryInfo retry = RetryInfo.getDefaultInstance();
    try {
      for (Any detail : details(trailers)) {
        if (detail.is(ErrorInfo.class)) {
          info = detail.unpack(ErrorInfo.class);
        } else if (detail.is(BadRequest.class)) {
          request = detail.unpack(BadRequest.class);
        } else if (detail.is(RetryInfo.class)) {
          retry = detail.unpack(RetryInfo.class);
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      // What cannot be read leaves what the code, the message and the details before it say.
    }
    return new Failure(
        status.getCode(),
        message(status),
        info.getReason(),
        info.getMetadataMap(),
        request.getFieldViolationsList().stream()
            .map(wrong -> new FieldViolation(wrong.getField(), wrong.getDescription()))
            .toList(),
        retry.hasRetryDelay() ? Wire.duration(retry.getRetryDelay()) : null,
        thrown);
  }

  private static String message(Status status) {
    String said = Objects.requireNonNullElse(status.getDescription(), status.getCode().name());
    // Of a connection that failed gRPC says "io exception" alone; the cause says which and why.
    boolean explained = status.getCause() == null || status.getCause().getMessage() == null;
    return explained ? said : said + ": " + status.getCause().getMessage();
  }

  /**
   * Reads the trailer itself: gRPC's own reader throws where the two copies of the code differ, and
   * a proxy that reworded one must not hide the error.
   */
  private static List<Any> details(Metadata trailers) throws InvalidProtocolBufferException {
    byte[] packed = trailers == null ? null : trailers.get(DETAILS);
    return packed == null ? List.of() : com.google.rpc.Status.parseFrom(packed).getDetailsList();
  }
}
