package ai.leyden.client;

/**
 * Base of everything that this package throws on its own account.
 *
 * <pre>
 * LeydenException
 * ├── ProtocolException                 the stream broke the API's contract
 * └── RpcException                      the call ended with a status other than OK
 *     ├── InvalidArgumentException      a field is wrong; violations() says which
 *     ├── NotFoundException             no such model
 *     │   └── GenerationNotFoundException  no such generation runs or is kept
 *     ├── EventsExpiredException        the events to watch are no longer kept
 *     ├── FailedPreconditionException   the model is known but not loaded
 *     │   ├── ModelLoadException        it cannot be loaded; the message says what and where
 *     │   └── ModelsManagedException    others decide which models run
 *     ├── AlreadyExistsException        the request's id belongs to another generation
 *     ├── OverloadedException           the queue is full, or the key's limit; retryAfter()
 *     ├── NoResourcesException          no replica of the model's stages can be placed
 *     ├── OutOfMemoryException          the server's device has not enough for this image
 *     ├── ReaderTooSlowException        this client has stopped reading
 *     ├── MessageTooLargeException      a message is over gRPC's size limit
 *     ├── UnavailableException          not reachable, loading or draining; retryAfter()
 *     ├── UnauthenticatedException      no or wrong credentials
 *     ├── PermissionDeniedException     not allowed
 *     ├── DeadlineExceededException     the timeout passed
 *     ├── GenerationCancelledException  ended by somebody, or the client was closed
 *     └── InternalException             a defect of the server; errorId() is in its log
 * </pre>
 */
public abstract sealed class LeydenException extends RuntimeException
    permits ProtocolException, RpcException {
  private static final long serialVersionUID = 1L;

  LeydenException(String message, Throwable cause) {
    super(message, cause);
  }
}
