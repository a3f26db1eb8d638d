package ai.leyden.client;

/** There is no such model. */
public sealed class NotFoundException extends RpcException permits GenerationNotFoundException {
  private static final long serialVersionUID = 1L;

  NotFoundException(Failure failure) {
    super(failure);
  }
}
