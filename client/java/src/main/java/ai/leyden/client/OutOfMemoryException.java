package ai.leyden.client;

/** The server's device has not enough memory; a smaller size or fewer images are the remedy. */
public final class OutOfMemoryException extends RpcException {
  private static final long serialVersionUID = 1L;

  OutOfMemoryException(Failure failure) {
    super(failure);
  }
}
