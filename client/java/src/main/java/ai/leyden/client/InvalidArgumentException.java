package ai.leyden.client;

/** A field of the request is wrong; {@link #violations()} says which. */
public final class InvalidArgumentException extends RpcException {
  private static final long serialVersionUID = 1L;

  InvalidArgumentException(Failure failure) {
    super(failure);
  }
}
