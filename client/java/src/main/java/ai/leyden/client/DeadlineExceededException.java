package ai.leyden.client;

/** The timeout passed. */
public final class DeadlineExceededException extends RpcException {
  private static final long serialVersionUID = 1L;

  DeadlineExceededException(Failure failure) {
    super(failure);
  }
}
