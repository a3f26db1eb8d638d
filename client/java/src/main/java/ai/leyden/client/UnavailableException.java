package ai.leyden.client;

/** The server cannot be reached, is loading or draining, or lost a stage. */
public final class UnavailableException extends RpcException {
  private static final long serialVersionUID = 1L;

  UnavailableException(Failure failure) {
    super(failure);
  }
}
