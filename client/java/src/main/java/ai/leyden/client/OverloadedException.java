package ai.leyden.client;

/** The queue is full, the deadline cannot be met, or a limit of the API key is reached. */
public final class OverloadedException extends RpcException {
  private static final long serialVersionUID = 1L;

  OverloadedException(Failure failure) {
    super(failure);
  }
}
