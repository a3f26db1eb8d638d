package ai.leyden.client;

/** The credentials do not allow this. */
public final class PermissionDeniedException extends RpcException {
  private static final long serialVersionUID = 1L;

  PermissionDeniedException(Failure failure) {
    super(failure);
  }
}
