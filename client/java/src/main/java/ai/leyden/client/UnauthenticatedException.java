package ai.leyden.client;

/** There are no credentials, or they are wrong. */
public final class UnauthenticatedException extends RpcException {
  private static final long serialVersionUID = 1L;

  UnauthenticatedException(Failure failure) {
    super(failure);
  }
}
