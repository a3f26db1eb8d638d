package ai.leyden.client;

/** No replica of the model's stages can be placed; the message says what is lacking. */
public final class NoResourcesException extends RpcException {
  private static final long serialVersionUID = 1L;

  NoResourcesException(Failure failure) {
    super(failure);
  }
}
