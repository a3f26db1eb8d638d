package ai.leyden.client;

/** The request's id belongs to another generation, which runs or is kept. */
public final class AlreadyExistsException extends RpcException {
  private static final long serialVersionUID = 1L;

  AlreadyExistsException(Failure failure) {
    super(failure);
  }
}
